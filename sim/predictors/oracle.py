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
from typing import Literal

from pydantic import Field

from sim.predictors.base import Context, Prediction, PredictorParams
from sim.predictors.base import Predictor as Base
from sim.rng import draw, uniform
from sim.workload import Step

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
        self._k, self._width = workload.top_k, workload.experts
        self._miss = miss_probabilities(params.recall, self._k)
        self._candidates = self._k if params.recall == 1.0 else min(2 * self._k, self._width)
        self._rows = workload.lists(workload.flat)
        # A kept slot is right as often as its rank is; a later candidate where one was missed, as
        # often as it recovers, but it never stands above a better rank.
        right = [1.0 - p for p in self._miss]
        later = min(right[-1], RECOVERY * (1.0 - prod(right)))
        self._scores = right + [later] * (self._candidates - self._k)

    def predict(self, step: Step, target: int) -> Prediction | None:
        ids: list[int] = []
        for row in step.rows:
            routed = self._rows[row][target]
            if routed[0] < 0:
                ids += [-1] * self._candidates
            elif self._candidates == self._k:
                ids += routed
            else:
                ids += self._degrade(routed, row, target)
        return Prediction(ids, self._scores * len(step.rows))

    def _degrade(self, routed: list[int], row: int, layer: int) -> list[int]:
        named: list[int] = []
        missed: list[int] = []
        for rank, x in enumerate(routed):
            if uniform(self._seed, row, layer, rank) < self._miss[rank]:
                missed.append(x)
                named.append(-1)
            else:
                named.append(x)
        taken = set(routed)
        for rank in range(self._k):
            if named[rank] < 0:
                named[rank] = self._other(taken, row, layer, rank)
        for rank in range(self._k, self._candidates):
            if missed and uniform(self._seed, row, layer, rank) < RECOVERY:
                named.append(missed.pop(0))
            else:
                named.append(self._other(taken, row, layer, rank))
        return named

    def _other(self, taken: set[int], row: int, layer: int, rank: int) -> int:
        """An expert of the layer outside ``taken``, which it joins; -1 where none is left."""
        flat = self._workload.flat
        x = -1
        for attempt in range(_TRIES):
            bits = draw(self._seed, row, layer, (attempt + 1) << 8 | rank)
            x = int(flat[bits % len(flat), layer, (bits >> 40) % self._k])
            if x >= 0 and x not in taken:
                taken.add(x)
                return x
        first = layer * self._width
        for step in range(1, self._width + 1):
            y = first + (max(x, first) - first + step) % self._width
            if y not in taken:
                taken.add(y)
                return y
        return -1
