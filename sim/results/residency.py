"""Which experts were resident when: written down while a run goes on, and read afterwards.

A log holds events in the order in which they happened, so it needs no clock, and costs a run next
to nothing: the runs of a simulation and of a real machine are logged alike. Where an event stands
is said by the decisions around it (``Place``), which two runs of the same inputs have in common.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.engine.loader import Loader

ROUTED, PREDICTED, BEGAN, LANDED, LEFT = range(5)
WIDTH = 4  # numbers an event


class ResidencyLog:
    """Attaches to a loader before its run: ``simulate(inputs, lambda _, l: log.watch(l))``.

    ``events`` are flat, ``WIDTH`` numbers each: kind, expert, target of its load, and of a routing
    its hits, of a load that began whether a layer's experts were pinned.
    """

    def __init__(self) -> None:
        self.events: list[int] = []
        self.at_first: list[bool] = []  # [experts]: resident before anything happened

    def watch(self, loader: Loader) -> None:
        cache, add = loader.cache, self.events.extend
        demand, propose = loader.demand, loader.propose
        reserve, insert, left = cache.reserve, cache.insert, cache.on_evict
        targets: dict[int, int] = {}  # of the load of each expert that moves
        self.at_first = list(cache.resident)

        def demanded(routed: Sequence[int], now: int) -> tuple[int, int]:
            hits, late = demand(routed, now)  # which queues loads, and begins none
            add((ROUTED, -1, cache.now, hits))
            return hits, late

        def proposed(
            named: Sequence[int], priority: Sequence[int], now: int, target: int, predictor: int
        ) -> None:
            propose(named, priority, now, target, predictor)
            add((PREDICTED, -1, target, 0))

        def reserved(x: int) -> bool:
            began = reserve(x)  # whoever leaves for it is written down before it
            if began:
                load = loader.in_flight[x]
                targets[x] = -1 if load is None else load.target
                add((BEGAN, x, targets[x], int(bool(cache.pinned))))
            return began

        def inserted(x: int, used: bool = False) -> None:
            insert(x, used)
            add((LANDED, x, targets.pop(x, -1), 0))

        def evicted(x: int) -> None:
            add((LEFT, x, -1, 0))
            if left is not None:
                left(x)

        loader.demand, loader.propose = demanded, proposed  # type: ignore[method-assign]
        cache.reserve, cache.insert = reserved, inserted  # type: ignore[method-assign]
        cache.on_evict = evicted


class Place(NamedTuple):
    """Where an event stands among decisions."""

    before: int  # the layer-step whose routing comes next
    said: int  # predictions since the last routing
    pinned: int  # of a load that begins: whether a layer's experts still were pinned


@dataclass
class Moved:
    """One load that began."""

    expert: int
    target: int
    began: Place
    landed: Place | None = None


class Change(NamedTuple):
    """An expert began to come, came or left, by a load: its own, or that of who took its room."""

    kind: int
    place: Place
    load: Moved


class Residency:
    """A log, read: the resident set at each routing, and what changed it.

    ``sets`` are bool [layer-steps, experts], before the layer's demand; ``hits`` [layer-steps].
    """

    def __init__(self, log: ResidencyLog) -> None:
        self.loads: dict[tuple[int, int], list[Moved]] = defaultdict(list)  # by expert and target
        self.changes: dict[int, list[Change]] = defaultdict(list)  # by expert, in order
        self.heard: Counter[int] = Counter()  # predictions that came in time, by target
        # By the routing that comes next: which loads began and landed, in order.
        self.order: dict[int, list[tuple[int, ...]]] = defaultdict(list)
        self.victims: dict[int, set[int]] = defaultdict(set)  # who left, likewise
        self._began: list[int] = []  # routing that came next, of each load that began, in order
        resident = np.array(log.at_first, dtype=bool)
        sets, hits = [], []
        moving: dict[int, Moved] = {}
        leaving: list[int] = []
        place = Place(0, 0, 0)
        for kind, x, target, more in zip(*[iter(log.events)] * WIDTH):
            if kind == ROUTED:
                sets.append(resident.copy())
                hits.append(more)
                place = Place(len(sets), 0, 0)
            elif kind == PREDICTED:
                place = place._replace(said=place.said + 1)
                self.heard[target] += 1
            elif kind == LEFT:
                resident[x] = False
                leaving.append(x)
                self.victims[place.before].add(x)
            elif kind == BEGAN:
                load = Moved(x, target, place._replace(pinned=more))
                moving[x] = load
                self.loads[x, target].append(load)
                self._began.append(place.before)
                self.order[place.before].append((kind, x, *load.began))
                self.changes[x].append(Change(BEGAN, load.began, load))
                for y in leaving:
                    self.changes[y].append(Change(LEFT, load.began, load))
                leaving = []
            elif kind == LANDED:
                resident[x] = True
                load = moving.pop(x)
                load.landed = place
                self.order[place.before].append((kind, x, *place))
                self.changes[x].append(Change(LANDED, place, load))
        width = len(resident)
        self.sets: npt.NDArray[np.bool_] = np.array(sets, dtype=bool).reshape(-1, width)
        self.hits: npt.NDArray[np.int64] = np.array(hits, dtype=np.int64)

    def last(self, x: int, routing: int) -> Change | None:
        """How ``x`` came or left last, before ``routing``; None: it is as it was at first."""
        changes = self.changes[x]
        at = bisect_right(changes, routing, key=lambda change: change.place.before)
        return next((c for c in reversed(changes[:at]) if c.kind != BEGAN), None)

    def moved(self, x: int, routing: int) -> bool:
        """Whether ``x`` came or left right before ``routing``."""
        change = self.last(x, routing)
        return change is not None and change.place.before == routing

    def twin(self, load: Moved, other: Residency) -> Moved | None:
        """The load of this run that is ``load`` of the ``other``: for the same need, as often."""
        key = load.expert, load.target
        index = next(i for i, own in enumerate(other.loads[key]) if own is load)
        return self.loads[key][index] if index < len(self.loads[key]) else None

    def begun(self, routing: int) -> int:
        """How many loads began before ``routing``."""
        return bisect_right(self._began, routing)
