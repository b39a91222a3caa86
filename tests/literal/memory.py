"""Who is in a tier, for whom room is held there, and who leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from prefetch_sim.sim.eviction.base import new_state
from prefetch_sim.sim.setup.inputs import Inputs


class Tier:
    """Residents and their scores; room held for what moves."""

    def __init__(
        self, sizes: Sequence[int], capacities: Sequence[int], eviction: ModuleType,
        layers: int, seed: int, future: Any, static: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.static = set(static)
        self.sizes, self.capacities, self.eviction = sizes, capacities, eviction
        self.width = len(sizes) // layers
        self.scores: dict[int, int] = {}
        self.held: set[int] = set()
        self.now = -1  # the layer-step routed last
        self.left: Callable[[int], None] = lambda x: None
        own = getattr(eviction, "new_state", new_state)
        self.state = own(len(sizes), layers, seed, future)
        if hasattr(eviction, "begin"):
            others = [x for x in range(len(sizes)) if x not in self.static]
            largest = [
                max((sizes[x] for x in others if self.partition(x) == p), default=0)
                for p in range(len(capacities))
            ]
            rooms = [self.room(p) // size if size else 0 for p, size in enumerate(largest)]
            self.state = eviction.begin(self.state, rooms)

    def partition(self, x: int) -> int:
        return 0 if len(self.capacities) == 1 else x // self.width

    def holds(self, x: int) -> bool:
        return x in self.static or x in self.scores

    def room(self, p: int) -> int:
        """What static experts leave of the partition."""
        return self.capacities[p] - sum(
            self.sizes[x] for x in self.static if self.partition(x) == p
        )

    def residents(self, p: int) -> list[int]:
        """Those of partition ``p`` that may leave, who leaves next first."""
        return sorted(
            (x for x in self.scores if self.partition(x) == p), key=lambda x: (self.scores[x], x)
        )

    def free(self, p: int) -> int:
        taken = (x for x in (*self.scores, *self.held) if self.partition(x) == p)
        return self.room(p) - sum(self.sizes[x] for x in taken)

    def has_room(self, x: int, stays: Callable[[int], bool]) -> bool:
        p = self.partition(x)
        evictable = sum(self.sizes[y] for y in self.residents(p) if not stays(y))
        return self.free(p) + evictable >= self.sizes[x]

    def hold_room(self, x: int, stays: Callable[[int], bool]) -> None:
        p, eviction = self.partition(x), self.eviction
        spared: list[int] = []
        kept: list[int] = []
        while self.free(p) < self.sizes[x]:
            if hasattr(eviction, "victim"):
                y = eviction.victim(self.state, p, self.now)
                if stays(y):
                    kept.append(y)
                    continue
            else:
                order = self.residents(p)
                y = next(y for y in order if not stays(y))
                spared = order[: order.index(y)]
            score = self.scores.pop(y)
            if hasattr(eviction, "evicted"):
                eviction.evicted(self.state, y, self.now, score)
            self.left(y)
        for y in reversed(kept):
            eviction.kept(self.state, y, self.now)
        for y in spared:
            self.tell("spared", y)
        self.held.add(x)

    def insert(self, x: int) -> None:
        self.held.discard(x)
        self.scores[x] = self.eviction.inserted(self.state, x, self.now)

    def tell(self, hook: str, x: int) -> None:
        if hasattr(self.eviction, hook) and x not in self.static:
            told = getattr(self.eviction, hook)
            self.scores[x] = told(self.state, x, self.now, self.scores[x])

    def fill(self, order: Sequence[int]) -> None:
        """With what is to stay longest first in ``order``: it arrives last."""
        for x in order:
            if x not in self.static and self.sizes[x] <= self.free(self.partition(x)):
                self.held.add(x)
        for x in reversed(order):
            if x in self.held:
                self.insert(x)


def warm_order(inputs: Inputs, warm: str) -> list[int]:
    workload = inputs.workload
    if warm == "none":
        return []
    ranks = [list(range(workload.experts)) for _ in range(workload.layers)]
    if warm == "popular":
        for rank, used in zip(ranks, workload.popularity.tolist()):
            rank.sort(key=lambda e, used=used: -used[e])  # type: ignore[misc]
    return [layer * workload.experts + e for es in zip(*ranks) for layer, e in enumerate(es)]
