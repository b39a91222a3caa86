"""The experts a layer has routed to most often so far in this run."""

from __future__ import annotations

from pydantic import Field

from sim.predictors.base import Context, Prediction, PredictorParams, best
from sim.predictors.base import Predictor as Base
from sim.workload import Step


class Params(PredictorParams):
    distance: int = Field(default=1, ge=0)


class Predictor(Base):
    def __init__(self, params: Params, context: Context) -> None:
        self.distance = params.distance
        self._workload = context.workload
        self._width, self._k = context.workload.experts, context.workload.top_k
        self._counts = [0.0] * (context.workload.layers * self._width)
        self._tokens = [0] * context.workload.layers

    def predict(self, step: Step, target: int) -> Prediction | None:
        seen = self._tokens[target]
        if not seen:
            return None
        first = target * self._width
        counts = self._counts[first : first + self._width]
        ids = best(counts, first, min(2 * self._k, self._width))
        scores = [counts[x - first] / seen for x in ids]
        return Prediction(ids * len(step.rows), scores * len(step.rows))

    def observe(self, step: Step, layer: int) -> None:
        ids, tokens = self._workload.routed(step, layer)
        for x, n in zip(ids, tokens or [1] * len(ids)):
            self._counts[x] += n
        self._tokens[layer] += len(step.rows)
