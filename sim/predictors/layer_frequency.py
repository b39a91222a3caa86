"""The experts a layer has routed to most often so far in this run."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from prefetch_sim.sim.jit.loops import loop
from prefetch_sim.sim.predictors.base import Context, PredictorParams, Table, silent
from prefetch_sim.sim.predictors.base import Predictor as Base


class Params(PredictorParams):
    distance: int = Field(default=1, ge=0)


class Predictor(Base):
    def __init__(self, params: Params, context: Context) -> None:
        self.distance = params.distance
        self._workload = context.workload

    def table(self) -> Table:
        """Each candidate scores the share of the tokens so far that it served."""
        workload = self._workload
        layers, experts = workload.layers, workload.experts
        said = silent(workload, min(2 * workload.top_k, experts))
        steps = workload.table
        order = np.arange(layers * experts).reshape(layers, experts)
        place = np.tile(np.arange(experts), layers)
        counts = np.zeros(layers * experts, dtype=np.int64)
        _count(
            workload.flat, steps.rows, steps.first_row, self.distance, order, place, counts, *said
        )
        return said


@loop
def _count(
    flat: Any, rows: Any, first_row: Any, distance: int, order: Any, place: Any, counts: Any,
    ids: Any, scores: Any,
) -> None:  # fmt: skip
    """``order`` [layers, experts]: most used first, then lowest id; ``place``: where x is in it."""
    layers, k, m = flat.shape[1], flat.shape[2], ids.shape[2]
    for step in range(len(first_row) - 1):
        first, end = first_row[step], first_row[step + 1]
        if first > 0:
            for i in range(first, end):
                for layer in range(distance, layers):
                    for rank in range(m):
                        x = order[layer, rank]
                        ids[rows[i], layer, rank] = x
                        scores[rows[i], layer, rank] = counts[x] / first
        for i in range(first, end):
            for layer in range(layers):
                for rank in range(k):
                    x = flat[rows[i], layer, rank]
                    if x < 0:
                        continue
                    counts[x] += 1
                    at = place[x]
                    while at > 0:
                        y = order[layer, at - 1]
                        if counts[y] > counts[x] or (counts[y] == counts[x] and y < x):
                            break
                        order[layer, at] = y
                        place[y] = at
                        at -= 1
                    order[layer, at] = x
                    place[x] = at
