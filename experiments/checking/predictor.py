"""The contract of a predictor: well-formed candidates, from nothing that is not known yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from prefetch_sim.experiments.checking import rules
from prefetch_sim.experiments.checking.hooks import takes_what_it_is_told
from prefetch_sim.experiments.checking.rules import need
from prefetch_sim.sim.predictors.base import Context, Prediction, Predictor
from prefetch_sim.sim.workload.workload import Workload
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


def play(
    module: ModuleType, params: Params, trace: Trace, batch: int, seed: int = 0
) -> tuple[Predictor, Log]:
    """Everything the predictor says, in the order in which it fires."""
    workload = Workload(trace, batch)
    context = Context(workload, seed, trace.meta.model)
    predictor = module.Predictor(module.Params.model_validate(dict(params)), context)
    ids, scores = predictor.table()
    log: Log = []

    for step in workload.steps():
        rows = list(step.rows)
        for target in range(predictor.distance, workload.layers):
            named = ids[rows, target].ravel().tolist()
            said = Prediction(named, scores[rows, target].ravel().tolist())
            log.append((step.number, target, said if max(named) >= 0 else None))
    return predictor, log


def candidates_are_well_formed(module: ModuleType, params: Params) -> None:
    """Candidates are experts of the layer, each once, best first, with scores from 0 to 1."""
    predictions = 0
    for batch in (1, 2):
        _, log = play(module, params, recording(), batch)
        tokens = [len(step.rows) for step in Workload(recording(), batch).steps()]
        for step, target, prediction in log:
            if prediction is None:
                continue
            predictions += 1
            _well_formed(prediction, tokens[step], target, f"step {step}, layer {target}")
    need(predictions > 0, "it says nothing of a trace of three requests")


def _well_formed(prediction: Prediction, tokens: int, target: int, at: str) -> None:
    ids, scores = prediction
    width, rest = divmod(len(ids), tokens)
    need(rest == 0, f"{at}: {len(ids)} candidates for {tokens} tokens: not as many for each")
    need(0 < width <= EXPERTS, f"{at}: {width} candidates a token, of {EXPERTS} experts")
    need(len(scores) == len(ids), f"{at}: {len(scores)} scores for {len(ids)} candidates")
    for first in range(0, len(ids), width):
        named = [x for x in ids[first : first + width] if x >= 0]
        need(len(set(named)) == len(named), f"{at}: one expert twice: {named}")
        others = sorted(x for x in named if x // EXPERTS != target)
        need(
            not others,
            f"{at}: {others} are not of the layer, whose flat ids are {target * EXPERTS} to "
            f"{target * EXPERTS + EXPERTS - 1}",
        )
        likely = scores[first : first + width]
        need(likely == sorted(likely, reverse=True), f"{at}: scores rise: {likely}")
    need(all(type(x) is int and x >= -1 for x in ids), f"{at}: ids are {ids}")
    need(all(0.0 <= s <= 1.0 for s in scores), f"{at}: scores are {scores}")


def says_when_and_what(module: ModuleType, params: Params) -> None:
    """It says when it fires, how far ahead, and what it costs."""
    predictor, _ = play(module, params, recording(), 1)
    triggers = ("layer_start", "gate_input", "routed")
    need(predictor.trigger in triggers, f"trigger is {predictor.trigger!r}, none of {triggers}")
    least = 1 if predictor.trigger == "routed" else 0
    need(predictor.distance >= least, f"distance is {predictor.distance}, below {least}")
    need(
        predictor.cost.flops >= 0 and predictor.cost.nbytes >= 0,
        f"cost is {predictor.cost}",
    )


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
        ids = [None if prediction is None else prediction.ids for prediction in (said, also)]
        need(
            said == also,
            f"{what}: of layer {target} in step {step} it said {ids[0]}, then {ids[1]}",
        )


def says_what_it_does(module: ModuleType, params: Params) -> None:
    """Its docstring's first line says what it does, and ends with a full stop."""
    rules.says_what_it_does(module)


RULES = (
    takes_what_it_is_told,
    the_same_run_twice,  # first: it has not seen a run yet
    candidates_are_well_formed,
    says_when_and_what,
    the_future_changes_nothing,
    says_what_it_does,
)
