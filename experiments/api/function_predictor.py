"""A predictor that is one Python function of what is routed so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.predictors.base import Context, Online, Prediction, PredictorParams
from prefetch_sim.sim.workload.step import Step


class FunctionParams(PredictorParams):
    """Keys in the config of a predictor that is a function."""

    distance: int = Field(default=1, ge=0)


class FunctionPredictor(Online):
    """Asks ``function(routed, layer)`` for the experts of MoE layer ``layer``.

    ``routed`` int16 [tokens, layers, k]: what the request's tokens were routed to so far, the
    present one last, best first; -1 where nothing is routed yet. It returns experts of that layer
    (0 to E - 1), best first, or (experts, scores), or None where it cannot tell. It is asked for
    each token of a decode step as layer ``layer - distance`` begins.
    """

    function: tuple[Callable[..., Any]]  # in a tuple, as it is no method

    def __init__(self, params: FunctionParams, context: Context) -> None:
        super().__init__(context)
        self.distance = params.distance
        self._workload = context.workload
        self._routed = np.full_like(context.workload.trace.experts, -1)
        self._shown = self._routed.view()
        self._shown.flags.writeable = False

    def predict(self, step: Step, target: int) -> Prediction | None:
        if step.prefill:
            return None
        said = [self._of_one(*token, target) for token in zip(step.requests, step.rows)]
        width = max(len(ids) for ids, _ in said)
        if not width:
            return None
        ids, scores = [], []
        for named, likely in said:
            silent = width - len(named)
            ids += [*named, *[-1] * silent]
            scores += [*likely, *[0.0] * silent]
        return Prediction(ids, scores)

    def observe(self, step: Step, layer: int) -> None:
        rows = list(step.rows)
        self._routed[rows, layer] = self._workload.trace.experts[rows, layer]

    def _of_one(self, request: int, row: int, target: int) -> tuple[list[int], list[float]]:
        """(flat ids, scores) for the token in ``row`` of the trace."""
        (function,) = self.function
        first, experts = self._workload.requests[request][1], self._workload.experts
        said = function(self._shown[first : row + 1], target)
        named, scores = said if isinstance(said, tuple) else (said, None)
        ids = [] if named is None else np.asarray(named, dtype=np.int64).ravel().tolist()
        likely = [1.0] * len(ids) if scores is None else np.asarray(scores, float).ravel().tolist()
        if len(likely) != len(ids):
            raise ConfigError(
                f"the predictor {function.__name__!r} gave {len(likely)} scores for "
                f"{len(ids)} experts of layer {target}"
            )
        there = [(x, score) for x, score in zip(ids, likely) if x != -1]
        for x, _ in there:
            if not 0 <= x < experts:
                raise ConfigError(
                    f"the predictor {function.__name__!r} named expert {x} of layer {target}, "
                    f"which has {experts}"
                )
        return [target * experts + x for x, _ in there], [score for _, score in there]
