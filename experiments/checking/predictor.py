"""The contract of a predictor: well-formed candidates, from nothing that is not known yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from prefetch_sim.experiments.checking import rules
from prefetch_sim.experiments.checking.hooks import rule_of_arguments
from prefetch_sim.experiments.checking.rules import need
from prefetch_sim.sim.predictors.base import Context, Prediction, Predictor, PredictorParams
from prefetch_sim.sim.setup import contracts
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.format import Prediction as Recorded
from prefetch_sim.traces.format import PredictionInfo, Trace
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec

LAYERS, EXPERTS, K = 3, 6, 2
MODEL = ModelSpec(
    name="small",
    layers=LAYERS,
    hidden=8,
    experts=EXPERTS,
    top_k=K,
    expert_hidden=8,
    attention=GroupedQueryAttention(heads=1, kv_heads=1, head_dim=8),
    vocab=16,
)
RECORDED = PredictionInfo(
    trigger="gate_input", distance=1, flops=2.0, bytes=8, description="made up"
)
LOOKS_AHEAD = "looks ahead"  # in the docstring of one that is allowed to
Log = list[tuple[int, int, Prediction | None]]
Params = Mapping[str, Any]


def recording(seed: int = 0) -> Trace:
    """Three requests, prompts first; the last layer does not route prompts; one column."""
    rng = np.random.default_rng(seed)
    lengths = [6, 9, 5]
    shape = (sum(lengths), LAYERS, EXPERTS)
    named = np.argsort(rng.random(shape), axis=2)[:, :, :3]
    named[:, 0] = -1  # distance 1: nothing names the first layer
    scores = np.where(named < 0, 0.0, -np.sort(-rng.random(named.shape), axis=2))
    trace = Trace.from_arrays(
        MODEL,
        np.argsort(rng.random(shape), axis=2)[:, :, :K],
        requests=np.repeat(np.arange(len(lengths)), lengths),
        prompt=3,
    )
    trace.experts[trace.phase == 0, -1] = -1
    said = Recorded(RECORDED, named.astype(np.int16), scores.astype(np.float32))
    meta = trace.meta.model_copy(update={"predictions": {"column": RECORDED}})
    return replace(trace, meta=meta, predictions={"column": said})


def made(
    module: ModuleType, params: Params, trace: Trace, batch: int, seed: int = 0
) -> tuple[Predictor, Workload]:
    """The predictor, and the workload that it speaks of."""
    workload = Workload(trace, batch)
    context = Context(workload, seed, trace.meta.model)
    return module.Predictor(module.Params.model_validate(dict(params)), context), workload


def play(
    module: ModuleType, params: Params, trace: Trace, batch: int, seed: int = 0
) -> tuple[Predictor, Log]:
    """Everything the predictor says, in the order in which it fires."""
    predictor, workload = made(module, params, trace, batch, seed)
    table = predictor.table()
    contracts.hold_arrays(table, workload)
    ids, scores = table
    log: Log = []

    for step in workload.steps():
        rows = list(step.rows)
        for target in range(predictor.distance, workload.layers):
            log.append((step.number, target, _said(ids[rows, target], scores[rows, target])))
    return predictor, log


def _said(ids: npt.NDArray[Any], scores: npt.NDArray[Any]) -> Prediction | None:
    """What a table says of a step's layer, both [tokens, m]; None: nothing.

    Its rows are as wide as the longest of the whole trace, so what follows the last expert, and a
    score of none, is nothing that the predictor said.
    """
    named = ids >= 0
    width = int(np.flatnonzero(named.any(axis=0)).max(initial=-1)) + 1
    likely = np.where(named, scores, 0)[:, :width]
    return Prediction(ids[:, :width].ravel().tolist(), likely.ravel().tolist()) if width else None


def candidates_are_well_formed(module: ModuleType, params: Params) -> None:
    """Candidates are experts of the layer, each once, best first, with scores from 0 to 1."""
    for batch in (1, 2):
        predictor, workload = made(module, params, recording(), batch)
        contracts.hold_table(predictor.table(), workload)
        _, log = play(module, params, recording(), batch)
        said = any(prediction is not None for _, _, prediction in log)
        need(said, f"it says nothing of a trace of three requests{_told(module, params)}")


def _told(module: ModuleType, params: Params) -> str:
    """Its own keys of the config, which may be why it was silent."""
    keys = module.Params.model_validate(dict(params)).model_dump(
        exclude=set(PredictorParams.model_fields)
    )
    return f" ({', '.join(f'{key}: {shown(value)}' for key, value in keys.items())})" * bool(keys)


def says_when_and_what(module: ModuleType, params: Params) -> None:
    """It says when it fires, how far ahead, and what it costs."""
    predictor, _ = made(module, params, recording(), 1)
    contracts.hold_predictor(predictor)


def the_same_run_twice(module: ModuleType, params: Params) -> None:
    """The same run gives the same predictions, whatever ran before."""
    (_, first), _, (_, again) = (play(module, params, recording(i), 2, 5) for i in (0, 1, 0))
    _same(first, again, "the same run again, after another")


def the_future_changes_nothing(module: ModuleType, params: Params) -> None:
    """What is not routed yet changes nothing of what it says; or it says that it looks ahead."""
    if LOOKS_AHEAD in (module.__doc__ or ""):
        return
    for batch in (1, 2):
        trace = recording()
        predictor, log = play(module, params, trace, batch)
        steps = list(Workload(trace, batch).steps())
        for step in steps[:: len(steps) // 6]:
            for layer in range(LAYERS):
                other = _changed_from(trace, steps, step.number, layer)
                _, changed = play(module, params, other, batch)
                _same(
                    _known(log, predictor, step.number, layer),
                    _known(changed, predictor, step.number, layer),
                    f"other routing from layer {layer} of step {step.number} on",
                )


def _changed_from(trace: Trace, steps: list[Any], number: int, layer: int) -> Trace:
    """``trace`` with other experts in ``layer`` of step ``number`` and all that follows it."""
    experts = trace.experts.copy()
    for step in steps[number:]:
        first = layer if step.number == number else 0
        part = experts[list(step.rows), first:]
        experts[list(step.rows), first:] = np.where(part < 0, part, (part + 1) % EXPERTS)
    return replace(trace, experts=experts)


def _known(log: Log, predictor: Predictor, number: int, layer: int) -> Log:
    """What was said until ``layer`` of step ``number`` is routed."""
    after = predictor.trigger == "routed"
    return [
        (step, target, prediction)
        for step, target, prediction in log
        if (step, target - predictor.distance + after) <= (number, layer)
    ]


def _same(one: Log, other: Log, what: str) -> None:
    for (step, target, said), (_, _, also) in zip(one, other):
        need(
            _alike(said, also),
            f"{what}: of layer {target} in step {step} it said {_differing(said, also)}",
        )


def _alike(one: Prediction | None, other: Prediction | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.ids == other.ids and np.array_equal(one.scores, other.scores, equal_nan=True)


def _differing(one: Prediction | None, other: Prediction | None) -> str:
    """Both, by what differs."""
    if one is not None and other is not None and one.ids == other.ids:
        return f"{one.ids} with the scores {one.scores}, then {other.scores}"
    ids = [None if prediction is None else prediction.ids for prediction in (one, other)]
    return f"{ids[0]}, then {ids[1]}"


def says_what_it_does(module: ModuleType, params: Params) -> None:
    """Its docstring's first line says what it does, and ends with a full stop."""
    rules.says_what_it_does(module)


RULES = (
    rule_of_arguments("predictors"),
    the_same_run_twice,  # first: it has not seen a run yet
    candidates_are_well_formed,
    says_when_and_what,
    the_future_changes_nothing,
    says_what_it_does,
)
