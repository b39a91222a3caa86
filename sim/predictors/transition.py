"""Adjacent-layer transition: what followed the experts just routed, counted so far in this run.

Fires once a layer is routed and predicts the next: each candidate scores the mean, over the
token's routed experts, of how often it was routed in the next layer after that expert.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from prefetch_sim.sim.jit.loops import loop
from prefetch_sim.sim.predictors.base import Context, PredictorParams, Table, silent
from prefetch_sim.sim.predictors.base import Predictor as Base


class Params(PredictorParams):
    pass


class Predictor(Base):
    trigger = "routed"
    distance = 1

    def __init__(self, params: Params, context: Context) -> None:
        self._workload = context.workload

    def table(self) -> Table:
        workload = self._workload
        experts = workload.experts
        said = silent(workload, min(2 * workload.top_k, experts))
        steps = workload.table
        # followed[x, e]: tokens that x served whose next layer chose its expert e
        followed = np.zeros((workload.layers * experts, experts), dtype=np.int64)
        served = np.zeros(workload.layers * experts, dtype=np.int64)
        mean, best = np.zeros(experts), np.zeros(said.ids.shape[2], dtype=np.int64)
        _follow(workload.flat, steps.rows, steps.first_row, followed, served, mean, best, *said)
        return said


@loop
def _follow(
    flat: Any, rows: Any, first_row: Any, followed: Any, served: Any, mean: Any, best: Any,
    ids: Any, scores: Any,
) -> None:  # fmt: skip
    layers, k, experts, m = flat.shape[1], flat.shape[2], len(mean), ids.shape[2]
    for step in range(len(first_row) - 1):
        for i in range(first_row[step], first_row[step + 1]):
            for layer in range(layers - 1):
                seen = 0
                for rank in range(k):
                    x = flat[rows[i], layer, rank]
                    seen += x >= 0 and served[x] > 0
                if seen == 0:
                    continue
                for e in range(experts):
                    mean[e] = 0.0
                for rank in range(k):
                    x = flat[rows[i], layer, rank]
                    if x >= 0 and served[x] > 0:
                        share = 1.0 / (served[x] * seen)
                        for e in range(experts):
                            mean[e] += share * followed[x, e]
                named = 0  # so far, best first
                for e in range(experts):
                    at = named
                    while at > 0 and mean[best[at - 1]] < mean[e]:
                        at -= 1
                    if at < m:
                        named = min(named + 1, m)
                        for j in range(named - 1, at, -1):
                            best[j] = best[j - 1]
                        best[at] = e
                for j in range(m):
                    ids[rows[i], layer + 1, j] = (layer + 1) * experts + best[j]
                    scores[rows[i], layer + 1, j] = mean[best[j]]
        for i in range(first_row[step], first_row[step + 1]):
            for layer in range(layers - 1):
                if flat[rows[i], layer + 1, 0] < 0:
                    continue
                for rank in range(k):
                    x = flat[rows[i], layer, rank]
                    if x >= 0:
                        served[x] += 1
                        for other in range(k):
                            y = flat[rows[i], layer + 1, other]
                            if y >= 0:
                                followed[x, y - (layer + 1) * experts] += 1
