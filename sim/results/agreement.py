"""Whether two runs of the same inputs decided alike, and what made each difference.

A run on a real machine takes the decisions of its simulation as long as every load begins and lands
between the same two decisions. Where one does not, the experts resident at the next layer differ,
and from there on others do. So each difference, of one expert at one layer-step, is traced to a
load that stood on the other side of a decision, or to an earlier difference; what cannot be is a
fault of one of the two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from prefetch_sim.sim.engine.records import LoadRecords
from prefetch_sim.sim.results.residency import LEFT, Change, Moved, Residency, ResidencyLog

# What makes an expert resident in one run and not in the other; later and earlier are said of the
# second run.
LATER = "landed later"
EARLIER = "landed earlier"
NEVER = "never began"  # in one run it had begun when the other withdrew it, or had no room
EVICTED = "evicted"  # by a load that began on the other side of a decision, or of a landing
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
            if not lasts:
                began[x] = self._cause(n, x)
            counts[began[x]] += 1
        return counts

    def _cause(self, n: int, x: int) -> str:
        """Why ``x`` is resident in one run only from layer-step ``n`` on."""
        has, lacks = (self._a, self._b) if self._a.sets[n, x] else (self._b, self._a)
        came, left = has.last(x, n), lacks.last(x, n)
        if came is not None and came.place.before == n:
            twin = lacks.twin(came.load, has)
            if twin is not None and (twin.landed is None or twin.landed.before > n):
                return LATER if has is self._a else EARLIER
            if twin is None and (x, came.load.target) in self._withdrawn[id(lacks)]:
                return NEVER
        suspects = {x}
        if left is not None and left.kind == LEFT:
            taker = left.load
            twin = has.twin(taker, lacks)
            if self._on_other_side(n, x, taker, twin, has, lacks):
                return EVICTED
            suspects |= {taker.expert, *(twin.victims if twin is not None else ())}
        return FOLLOWS if any(self._differed(y, n) for y in suspects) else UNEXPLAINED

    def _on_other_side(
        self, n: int, x: int, taker: Moved, twin: Moved | None, has: Residency, lacks: Residency
    ) -> bool:
        """Whether ``taker``, which took the place of ``x`` in ``lacks``, or another load instead
        of it, had not begun in ``has``, or stood differently to what decides who leaves."""
        if twin is None:
            return (taker.expert, taker.target) in self._withdrawn[id(has)]
        if twin.began != taker.began or has.begun(n) < lacks.begun(n):
            return True
        return _landed_first(has, x, twin) != _landed_first(lacks, x, taker)

    def _differed(self, y: int, n: int) -> bool:
        """Whether something happened to ``y`` before layer-step ``n`` in one run only, or between
        other decisions; at ``n`` itself, whether it left so."""
        return _history(self._a.changes[y], n) != _history(self._b.changes[y], n)


def _landed_first(run: Residency, x: int, taker: Moved) -> bool:
    """Whether the last load of ``x`` to land had landed when ``taker`` began."""
    orders = [c.load.landed_order for c in run.changes[x] if c.load.expert == x]
    return not orders or any(order < taker.order for order in orders[-1:])


def _history(changes: list[Change], n: int) -> list[tuple[int, ...]]:
    return [
        (change.kind, *change.place)
        for change in changes
        if change.place.before < n or (change.place.before == n and change.kind == LEFT)
    ]
