"""The routing itself, or the routing degraded to a given slot recall (it looks ahead).

At ``recall`` r each routed expert is missed with mean probability 1 - r. Errors sit where real
predictors make them, at the boundary of the top-k: the chance of a miss grows with the rank; the
expert named instead is drawn from what the layer routes elsewhere in the trace, so popular
experts are guessed more often; and the missed one follows just below: each candidate after the
top-k is the next missed expert with probability 1/3, which reproduces how over-provisioning
recovers exact sets in arXiv 2511.10676, Table 4 (93.0 % of sets with 6 of 6, 98.7 % with 10).
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import numpy as np
from pydantic import Field

from prefetch_sim.sim.jit.loops import loop, part
from prefetch_sim.sim.jit.rng import pick, uniform
from prefetch_sim.sim.predictors.base import Context, PredictorParams, Table, silent
from prefetch_sim.sim.predictors.base import Predictor as Base

RECOVERY = 1 / 3
_TRIES = 8  # draws from the trace before falling back to the nearest free expert id


class Params(PredictorParams):
    recall: float = Field(default=1.0, ge=0, le=1)
    distance: int = Field(default=0, ge=0)
    trigger: Literal["layer_start", "gate_input"] = "layer_start"


def miss_probabilities(recall: float, k: int) -> list[float]:
    """Chance of missing the expert of each rank: growing with rank, mean 1 - ``recall``."""
    tilt = [2 * (rank + 1) / (k + 1) for rank in range(k)]  # mean 1
    miss = 1.0 - recall
    steepest = 1.0 / tilt[-1]  # the mean at which the last rank is always missed
    if miss <= steepest:
        return [miss * t for t in tilt]
    rest = (miss - steepest) / (1.0 - steepest) if steepest < 1.0 else 0.0
    return [p + rest * (1.0 - p) for p in (steepest * t for t in tilt)]


class Predictor(Base):
    def __init__(self, params: Params, context: Context) -> None:
        workload = context.workload
        self.trigger, self.distance = params.trigger, params.distance
        self._workload, self._seed = workload, context.seed
        self._miss = miss_probabilities(params.recall, workload.top_k)
        self._perfect = params.recall == 1.0

    def table(self) -> Table:
        """A kept slot is right as often as its rank is; a later candidate where one was missed, as
        often as it recovers, but it never stands above a better rank."""
        workload, k = self._workload, self._workload.top_k
        m = k if self._perfect else min(2 * k, workload.experts)  # k: there are no others
        said = silent(workload, m)
        right = [1.0 - p for p in self._miss]
        later = min(right[-1], RECOVERY * (1.0 - prod(right)))
        if m == k:
            said.ids[:, self.distance :] = workload.flat[:, self.distance :]
        else:
            _degrade(
                workload.flat, workload.experts, self._seed, np.array(self._miss),
                np.full(k, -1), self.distance, said.ids,
            )  # fmt: skip
        score = np.array(right + [later] * (m - k), dtype=np.float32)
        said.scores[:] = np.where(said.ids[:, :, :1] >= 0, score, np.float32(0))
        return said


@loop
def _degrade(
    flat: Any, experts: int, seed: int, miss: Any, missed: Any, distance: int, ids: Any
) -> None:
    tokens, layers, k = flat.shape
    m = ids.shape[2]
    for row in range(tokens):
        for layer in range(distance, layers):
            routed, named = flat[row, layer], ids[row, layer]
            if routed[0] < 0:
                continue
            count = next_missed = 0
            for rank in range(k):
                named[rank] = routed[rank]
                if uniform(seed, row, layer, rank) < miss[rank]:
                    missed[count] = routed[rank]
                    count += 1
                    named[rank] = -1
            for rank in range(m):
                recovers = rank >= k and next_missed < count
                if recovers and uniform(seed, row, layer, rank) < RECOVERY:
                    named[rank] = missed[next_missed]
                    next_missed += 1
                    continue
                if named[rank] < 0:
                    named[rank] = _other(flat, experts, seed, row, layer, rank, named)


@part
def _other(flat: Any, experts: int, seed: int, row: int, layer: int, rank: int, named: Any) -> int:
    """An expert of the layer that is neither routed nor named yet; -1 where none is left."""
    tokens, _, k = flat.shape
    x = -1
    for attempt in range(_TRIES):
        at, slot = pick(seed, row, layer, (attempt + 1) << 8 | rank, tokens, k)
        x = flat[at, layer, slot]
        if x >= 0 and not _taken(flat[row, layer], named, x):
            return int(x)
    first = layer * experts
    for step in range(1, experts + 1):
        y = first + (max(x, first) - first + step) % experts
        if not _taken(flat[row, layer], named, y):
            return y
    return -1


@part
def _taken(routed: Any, named: Any, x: int) -> bool:
    taken = False
    for y in routed:
        taken = taken or x == y
    for y in named:
        taken = taken or x == y
    return taken
