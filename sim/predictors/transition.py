"""Adjacent-layer transition: what followed the experts just routed, counted so far in this run.

Fires once a layer is routed and predicts the next: each candidate scores the mean, over the
token's routed experts, of how often it was routed in the next layer after that expert.
"""

from __future__ import annotations

from sim.predictors.base import Context, Prediction, PredictorParams, best
from sim.predictors.base import Predictor as Base
from sim.workload import Step


class Params(PredictorParams):
    pass


class Predictor(Base):
    trigger = "routed"
    distance = 1

    def __init__(self, params: Params, context: Context) -> None:
        workload = context.workload
        self._width, self._k = workload.experts, workload.top_k
        self._rows = workload.lists(workload.flat)
        total = workload.layers * self._width
        # followed[x * width + e]: tokens that x served whose next layer chose its expert e
        self._followed = [0] * (total * self._width)
        self._served = [0] * total

    def predict(self, step: Step, target: int) -> Prediction | None:
        ids: list[int] = []
        scores: list[float] = []
        width, first = self._width, target * self._width
        m = min(2 * self._k, width)
        for row in step.rows:
            seen = [x for x in self._rows[row][target - 1] if x >= 0 and self._served[x]]
            if not seen:
                ids += [-1] * m
                scores += [0.0] * m
                continue
            mean = [0.0] * width
            for x in seen:
                share = 1.0 / (self._served[x] * len(seen))
                followed = self._followed[x * width : (x + 1) * width]
                mean = [a + share * b for a, b in zip(mean, followed)]
            named = best(mean, first, m)
            ids += named
            scores += [mean[x - first] for x in named]
        return Prediction(ids, scores) if max(ids) >= 0 else None

    def observe(self, step: Step, layer: int) -> None:
        if layer == 0:
            return
        width = self._width
        for row in step.rows:
            layers = self._rows[row]
            chosen = [y % width for y in layers[layer] if y >= 0]
            for x in layers[layer - 1]:
                if x >= 0 and chosen:
                    self._served[x] += 1
                    for e in chosen:
                        self._followed[x * width + e] += 1
