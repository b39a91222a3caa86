"""Whether two runs of the same inputs decided alike, and what made each difference.

A run on a real machine takes the decisions of its simulation as long as every load begins and lands
between the same two decisions. Where one does not, the experts resident at the next layer differ,
and from there on others do. So each difference, of one expert at one layer-step, is traced to a
load that stood on the other side of a decision, or to an earlier difference; what cannot be is a
fault of one of the two. That holds of evictions that score each expert by itself: with queues that
move (S3-FIFO) an earlier difference of any other expert may tell who leaves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from prefetch_sim.sim.engine.records import LoadRecords
from prefetch_sim.sim.results.residency import LANDED, LEFT, Residency, ResidencyLog

# What makes an expert resident in one run and not in the other; later and earlier are said of the
# second run.
LATER = "landed later"
EARLIER = "landed earlier"
NEVER = "never began"  # in one run it had begun when the other withdrew it, or had no room
EVICTED = "evicted"  # by a load that began on the other side of a decision or of other loads
FOLLOWS = "follow-on"  # of an earlier difference of that expert, or of whoever took its place
UNEXPLAINED = "unexplained"
CAUSES = (LATER, EARLIER, NEVER, EVICTED, FOLLOWS, UNEXPLAINED)


class Watched(NamedTuple):
    """A run that was watched, and the records of its loads, which it has to have kept."""

    log: ResidencyLog
    loads: LoadRecords


class Agreement(NamedTuple):
    """Shares are of layer-steps; ``causes`` count experts that differ, by layer-step."""

    layer_steps: int
    equal_sets: float
    equal_hits: float
    jaccard: float  # mean of |common| / |either|
    least_jaccard: float
    causes: dict[str, int]

    @property
    def differences(self) -> int:
        return sum(self.causes.values())


def agreement(one: Watched, other: Watched) -> Agreement:
    """How far ``other`` decided as ``one``, at each layer-step that both routed.

    Raises ValueError where they are of different inputs.
    """
    a, b = Residency(one.log), Residency(other.log)
    if a.sets.shape != b.sets.shape:
        raise ValueError(
            f"two runs of different inputs: {len(a.sets)} and {len(b.sets)} layer-steps"
        )
    common, either = (a.sets & b.sets).sum(axis=1), (a.sets | b.sets).sum(axis=1)
    jaccard = np.where(either, common / np.maximum(either, 1), 1.0)
    return Agreement(
        len(a.sets),
        float((common == either).mean()),
        float((a.hits == b.hits).mean()),
        float(jaccard.mean()),
        float(jaccard.min()),
        _Tracer(a, b, _withdrawn(one.loads), _withdrawn(other.loads)).causes(),
    )


def _withdrawn(records: LoadRecords) -> set[tuple[int, int]]:
    """(expert, target) of every load that never began: cancelled, or dropped for want of room."""
    never = records.column("started") < 0
    experts, targets = (records.column(name)[never].tolist() for name in ("expert", "target"))
    return set(zip(experts, targets))


class _Tracer:
    def __init__(
        self,
        a: Residency,
        b: Residency,
        withdrawn_a: set[tuple[int, int]],
        withdrawn_b: set[tuple[int, int]],
    ) -> None:
        self._a, self._b = a, b
        self._withdrawn = {id(a): withdrawn_a, id(b): withdrawn_b}

    def causes(self) -> dict[str, int]:
        counts = dict.fromkeys(CAUSES, 0)
        a, b = self._a.sets, self._b.sets
        began: dict[int, str] = {}  # by expert, the cause of its present difference
        differ = a != b
        for n, x in np.argwhere(differ).tolist():
            lasts = n and differ[n - 1, x] and a[n, x] == a[n - 1, x]
            if not lasts or self._a.moved(x, n) or self._b.moved(x, n):
                began[x] = self._cause(n, x)
            counts[began[x]] += 1
        return counts

    def _cause(self, n: int, x: int) -> str:
        """Why ``x`` is resident in one run only from layer-step ``n`` on."""
        has, lacks = (self._a, self._b) if self._a.sets[n, x] else (self._b, self._a)
        came, left = has.last(x, n), lacks.last(x, n)
        if came is not None and came.place.before == n:
            twin = lacks.twin(came.load, has)
            same_need = lacks.loads[x, came.load.target]
            if any(load.landed is None or load.landed.before > n for load in same_need):
                return LATER if has is self._a else EARLIER
            target = came.load.target
            unheard = lacks.heard[target] < has.heard[target]  # a prediction came too late there
            if twin is None and (unheard or (x, target) in self._withdrawn[id(lacks)]):
                return NEVER
        suspects, gone = {x}, left is not None and left.kind == LEFT
        if left is not None and gone:
            taker = left.load
            twin = has.twin(taker, lacks)
            if twin is None and (taker.expert, taker.target) in self._withdrawn[id(has)]:
                return EVICTED
            if twin is not None and (twin.began != taker.began or has.begun(n) < lacks.begun(n)):
                return EVICTED
            # Whoever left there in its stead.
            suspects |= {taker.expert, *(has.victims[n] - lacks.victims[n])}
        if any(self._differed(y, n) for y in suspects):
            return FOLLOWS
        return EVICTED if gone and has.order[n] != lacks.order[n] else UNEXPLAINED

    def _differed(self, y: int, n: int) -> bool:
        """Whether ``y`` came or left before layer-step ``n`` in one run only, between other
        decisions, or after other loads; of what happened right before ``n``, whether both let it
        go, but not alike."""
        a, b = (run.changes[y] for run in (self._a, self._b))
        one, other = ([c for c in changes if c.place.before < n] for changes in (a, b))
        if [(c.kind, c.place) for c in one] != [(c.kind, c.place) for c in other]:
            return True
        landed = [c.place.before for c in one if c.kind == LANDED][-1:]
        if any(self._a.order[routing] != self._b.order[routing] for routing in landed):
            return True
        last = (
            [c.place for c in changes if c.place.before == n and c.kind == LEFT]
            for changes in (a, b)
        )
        return any(p != q for p, q in zip(*last))
