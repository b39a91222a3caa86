"""The contract of a predictor: well-formed candidates, from nothing that is not known yet."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from harness import make_trace

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.predictors.base import Context, Prediction, Predictor
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.format import PredictionInfo, Trace

LAYERS, EXPERTS, K = 3, 6, 2
RECORDED = PredictionInfo(
    trigger="gate_input", distance=1, flops=2.0, bytes=8, description="made up"
)
Log = list[tuple[int, int, Prediction | None]]


def recording(seed: int = 0) -> Trace:
    """Three requests, prompts first; the last layer does not route prompts; one column."""
    rng = np.random.default_rng(seed)
    lengths = [6, 9, 5]
    shape = (sum(lengths), LAYERS, EXPERTS)
    named = np.argsort(rng.random(shape), axis=2)[:, :, :3]
    named[:, 0] = -1  # distance 1: nothing names the first layer
    scores = np.where(named < 0, 0.0, -np.sort(-rng.random(named.shape), axis=2))
    trace = make_trace(
        np.argsort(rng.random(shape), axis=2)[:, :, :K].tolist(),
        EXPERTS,
        prompt=3,
        requests=lengths,
        predictions={"column": (RECORDED, named, scores)},
    )
    trace.experts[trace.phase == 0, -1] = -1
    return trace


def play(
    module: ModuleType, params: dict[str, Any], trace: Trace, batch: int, seed: int = 0
) -> tuple[Predictor, Log]:
    """Everything the predictor says, in the order in which it fires."""
    workload = Workload(trace, batch)
    context = Context(workload, seed, trace.meta.model)
    predictor = module.Predictor(module.Params.model_validate(params), context)
    ids, scores = predictor.table()
    log: Log = []

    for step in workload.steps():
        rows = list(step.rows)
        for target in range(predictor.distance, workload.layers):
            named = ids[rows, target].ravel().tolist()
            said = Prediction(named, scores[rows, target].ravel().tolist())
            log.append((step.number, target, said if max(named) >= 0 else None))
    return predictor, log


class PredictorContract:
    """``policy`` is a built-in name or an import path; ``params`` its keys in the config."""

    policy: str
    params: dict[str, Any] = {}  # noqa: RUF012 - read only
    # True only for a predictor whose docstring says that it looks ahead.
    looks_ahead = False

    @property
    def module(self) -> ModuleType:
        return registry.find("predictors", self.policy)

    def test_candidates_are_well_formed(self) -> None:
        predictions = 0
        for batch in (1, 2):
            _, log = play(self.module, self.params, recording(), batch)
            tokens = [len(step.rows) for step in Workload(recording(), batch).steps()]
            for step, target, prediction in log:
                if prediction is None:
                    continue
                predictions += 1
                ids, scores = prediction
                width, rest = divmod(len(ids), tokens[step])
                assert rest == 0, "the same number for each token"
                assert 0 < width <= EXPERTS
                assert len(scores) == len(ids)
                for first in range(0, len(ids), width):
                    named = [x for x in ids[first : first + width] if x >= 0]
                    assert len(set(named)) == len(named)
                    assert {x // EXPERTS for x in named} <= {target}
                    of_token = [s for x, s in zip(ids[first:], scores[first : first + width])]
                    assert of_token == sorted(of_token, reverse=True), "best first"
                assert all(type(x) is int and x >= -1 for x in ids)
                assert all(0.0 <= s <= 1.0 for s in scores)
        assert predictions

    def test_says_when_it_fires_and_what_it_costs(self) -> None:
        predictor, _ = play(self.module, self.params, recording(), 1)
        assert predictor.trigger in ("layer_start", "gate_input", "routed")
        assert predictor.distance >= (1 if predictor.trigger == "routed" else 0)
        assert predictor.cost.flops >= 0
        assert predictor.cost.nbytes >= 0

    def test_the_same_run_gives_the_same_predictions(self) -> None:
        first, second = (play(self.module, self.params, recording(), 2, 5)[1] for _ in range(2))
        assert first == second

    def test_what_is_not_routed_yet_changes_nothing(self) -> None:
        """At each point of the run, all that is routed from there on is routed otherwise."""
        if self.looks_ahead:
            assert "looks ahead" in (self.module.__doc__ or "")
            return
        for batch in (1, 2):
            trace = recording()
            predictor, log = play(self.module, self.params, trace, batch)
            steps = list(Workload(trace, batch).steps())
            for step in steps[:: len(steps) // 6]:
                for layer in range(LAYERS):
                    other = self._changed_from(trace, steps, step.number, layer)
                    _, changed = play(self.module, self.params, other, batch)
                    known = self._known(log, predictor, step.number, layer)
                    assert known == self._known(changed, predictor, step.number, layer)

    def _changed_from(self, trace: Trace, steps: list[Any], number: int, layer: int) -> Trace:
        """``trace`` with other experts in ``layer`` of step ``number`` and all that follows it."""
        experts = trace.experts.copy()
        for step in steps[number:]:
            first = layer if step.number == number else 0
            part = experts[list(step.rows), first:]
            experts[list(step.rows), first:] = np.where(part < 0, part, (part + 1) % EXPERTS)
        return replace(trace, experts=experts)

    def _known(self, log: Log, predictor: Predictor, number: int, layer: int) -> Log:
        """What was said until ``layer`` of step ``number`` is routed."""
        after = predictor.trigger == "routed"
        return [
            (step, target, prediction)
            for step, target, prediction in log
            if (step, target - predictor.distance + after) <= (number, layer)
        ]

    def test_says_what_it_does(self) -> None:
        assert registry.summary("predictors", self.policy).endswith((".", ")"))
