"""A tier says which experts are in a memory, what may leave it, and who leaves next.

The tier owns legality (capacity, pins, room held by experts in flight) and keeps the order of
victims; an eviction (``sim.eviction``) only scores. A victim costs O(log n): each partition keeps
a heap in which every resident has an entry at or below its present score. A score that rises
waits there until its entry comes up, so a hit under LRU touches no heap at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from types import ModuleType
from typing import Any

import numpy as np

from prefetch_sim.sim.config.foreign import BrokenContractError
from prefetch_sim.sim.eviction import base
from prefetch_sim.sim.workload.future import Future


class Tier:
    """Keeps whole experts in one memory.

    ``sizes[x]`` is the bytes of expert ``x``; ``partition_of[x]`` its partition, each with its
    own ``capacities`` entry in bytes (one for a global cache, one a layer for a per-layer one).
    Those of ``static`` are there for good, and the eviction does not know them.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        capacities: Sequence[int],
        partition_of: Sequence[int],
        layers: int,
        eviction: ModuleType,
        *,
        seed: int = 0,
        future: Future | None = None,
        static: Collection[int] = (),
    ) -> None:
        # No more than 29 attributes: with 30 CPython reads each of them slower, a run by 4 %.
        self.sizes = list(sizes)
        self.free = list(capacities)
        self.partition_of = list(partition_of)
        self.layers = layers
        self.width = len(self.sizes) // layers
        self.resident = [False] * len(self.sizes)
        self.static = frozenset(static)
        self._leaves = list(partition_of)  # the partition that an expert may leave; -1: static
        for x in self.static:
            self.resident[x] = True
            self._leaves[x] = -1
            self.free[partition_of[x]] -= sizes[x]
        if self.static:  # so that a tier without them asks nothing
            self.use = self._use_others  # type: ignore[method-assign]
        self.room = list(self.free)  # bytes beside static experts, by partition
        self._largest = max(self.sizes)
        self.used = [0] * len(self.room)  # bytes of residents that may leave, by partition
        self.pinned: Collection[int] = ()
        self.now = -1  # number of the last layer-step routed
        self._n = len(self.sizes)
        self.scores = [0] * self._n
        self._heaps: list[list[int]] = [[] for _ in capacities]
        self._least = [0] * self._n  # the score of the lowest live entry of each resident
        self._limit = 2 * self._n + 64
        new_state = getattr(eviction, "new_state", base.new_state)
        self.state = new_state(self._n, layers, seed, future)
        begin = getattr(eviction, "begin", None)
        if begin is not None:
            self.state = begin(self.state, self._rooms())
        # Of one that keeps queues: its ``victim`` and ``kept``.
        self._queues = (eviction.victim, eviction.kept) if hasattr(eviction, "victim") else None
        self._inserted, self._used = eviction.inserted, eviction.used
        self._evicted = getattr(eviction, "evicted", None)
        self._not_routed = getattr(eviction, "not_routed", None)
        self.hears_not_routed = self._not_routed is not None
        # [layer]: what to tell ``not_routed`` of, in order; a dict, as sets have none.
        self.news: list[dict[int, None]] = [{} for _ in range(layers)]
        self._predicted = getattr(eviction, "predicted", None)
        self._spared = getattr(eviction, "spared", None)
        self.on_evict: Callable[[int], None] | None = None  # hears of every expert that leaves

    @property
    def capacities(self) -> list[int]:
        """Bytes, by partition."""
        found = list(self.room)
        for x in self.static:
            found[self.partition_of[x]] += self.sizes[x]
        return found

    @property
    def hears_predictions(self) -> bool:
        return self._predicted is not None

    def _rooms(self) -> list[int]:
        """How many experts, of the largest size that comes and goes, fit in each partition."""
        largest = [0] * len(self.room)
        for x, p in enumerate(self._leaves):
            if p >= 0:
                largest[p] = max(largest[p], self.sizes[x])
        return [room // size if size else 0 for room, size in zip(self.room, largest)]

    def fits(self, experts: Collection[int]) -> bool:
        """Whether ``experts``, all of one layer, can be resident together."""
        if not experts:
            return True
        first = next(iter(experts))  # experts of a layer, which share a size
        size, room = self.sizes[first], self.room[self.partition_of[first]]
        if size * len(experts) <= room or not self.static:
            return size * len(experts) <= room
        return size * sum([x not in self.static for x in experts]) <= room

    def can_hold(self, x: int) -> bool:
        """Whether there is room for ``x``, or enough that is not pinned can leave."""
        partition, sizes = self.partition_of[x], self.sizes
        missing = sizes[x] - self.free[partition]
        if missing <= 0:
            return True
        stays = 0
        for y in self.pinned:
            if self.resident[y] and self._leaves[y] == partition:
                stays += sizes[y]
        return missing <= self.used[partition] - stays

    def reserve(self, x: int) -> bool:
        """Hold room for ``x``, evicting where needed; False, and nothing done, if none is."""
        partition, size = self.partition_of[x], self.sizes[x]
        missing = size - self.free[partition]
        if missing > 0:
            # All that is pinned, were it here, may stay: the usual case, without another call.
            certain = self.used[partition] - len(self.pinned) * self._largest
            if missing > certain and not self.can_hold(x):
                return False
            missing = self._evict(partition, missing)
        self.free[partition] = -missing
        return True

    def insert(self, x: int, used: bool = False) -> None:
        """``x`` has landed in the room reserved for it; ``used``: because it is needed now."""
        self.resident[x] = True
        self.used[self.partition_of[x]] += self.sizes[x]
        score = self._inserted(self.state, x, self.now)
        if used:
            score = self._used(self.state, x, self.now, score)
        self.scores[x] = score
        if self._queues is None:
            self._push(x, score)
        if self.hears_not_routed:
            self._note((x,))

    def use(self, experts: Collection[int]) -> None:
        """``experts``, resident, are computed with: the eviction hears of each."""
        used, state, now, scores = self._used, self.state, self.now, self.scores
        least = self._least
        for x in experts:
            new = scores[x] = used(state, x, now, scores[x])
            if new < least[x]:
                self._push(x, new)
        if self.hears_not_routed:
            self._note(experts)

    def _use_others(self, experts: Collection[int]) -> None:
        """As ``use``, where some are static."""
        Tier.use(self, [x for x in experts if x not in self.static])

    def routed(self, layer: int, routed: Collection[int]) -> None:
        """``layer`` was routed to ``routed``: the eviction hears of residents outside it."""
        if self._not_routed is not None:
            news, self.news[layer] = self.news[layer], {}
            for x in news:
                if self.resident[x]:
                    if x in routed:
                        self.news[layer][x] = None
                    else:
                        self._rescore(x, self._not_routed)

    def predict(self, experts: Iterable[int]) -> None:
        """``experts`` are proposed for a layer still to come."""
        if self._predicted is not None:
            for x in experts:
                if self.resident[x] and self._leaves[x] >= 0:
                    self._rescore(x, self._predicted)
                    if self.hears_not_routed:
                        self._note((x,))

    def _note(self, experts: Collection[int]) -> None:
        """Something happened to ``experts``: to be told when their layer is routed without them."""
        for x in experts:
            self.news[x // self.width][x] = None

    def _rescore(self, x: int, told: Callable[..., int]) -> None:
        new = self.scores[x] = told(self.state, x, self.now, self.scores[x])
        if new < self._least[x]:
            self._push(x, new)

    def _push(self, x: int, score: int) -> None:
        self._least[x] = score
        heap = self._heaps[self.partition_of[x]]
        heappush(heap, score * self._n + x)  # one integer: compares by score, then id
        if len(heap) > self._limit:
            heap[:] = {e for e in heap if self._live(e)}
            heapify(heap)

    def _live(self, entry: int) -> bool:
        score, x = divmod(entry, self._n)
        return self.resident[x] and self._least[x] == score

    def _evict(self, partition: int, missing: int) -> int:
        """Let experts go until ``missing`` bytes are free: ``can_hold`` has found them.

        Returns what is still missing: less than nothing where more has become free.
        """
        if self._queues is not None:
            return self._let_go(partition, missing)
        heap, n, sizes = self._heaps[partition], self._n, self.sizes
        resident, least, scores, pinned = self.resident, self._least, self.scores, self.pinned
        victims: list[int] = []
        passed_over: list[int] = []
        while missing > 0:
            entry = heap[0]
            x = entry % n
            score = scores[x]
            if not resident[x] or least[x] != entry // n:
                heappop(heap)
            elif score != least[x]:
                least[x] = score
                heapreplace(heap, score * n + x)
            else:
                while heap and heap[0] == entry:  # twice, where a low score of x rose to this one
                    heappop(heap)
                if x in pinned:
                    passed_over.append(entry)
                else:
                    victims.append(x)
                    missing -= sizes[x]
        for entry in passed_over:
            heappush(heap, entry)
        self._left(partition, victims)
        if self._spared is not None:
            for entry in passed_over:
                self._rescore(entry % n, self._spared)
        return missing

    def _let_go(self, partition: int, missing: int) -> int:
        """As ``_evict``, where the eviction keeps queues."""
        assert self._queues is not None
        victim, kept = self._queues
        victims: list[int] = []
        passed_over: list[int] = []
        while missing > 0:
            x = victim(self.state, partition, self.now)
            if not self._may_be(x, partition) or x in victims or x in passed_over:
                said = f"victim gave {x!r}, which is not there to leave partition {partition}"
                raise BrokenContractError("eviction", said)
            if x in self.pinned:
                passed_over.append(x)
            else:
                victims.append(x)
                missing -= self.sizes[x]
        for x in reversed(passed_over):
            kept(self.state, x, self.now)
        self._left(partition, victims)
        return missing

    def _may_be(self, x: Any, partition: int) -> bool:
        """Whether ``x`` is an expert that is resident in ``partition``, and may leave it."""
        whole = isinstance(x, int | np.integer) and 0 <= x < self._n
        return bool(whole) and self.resident[x] and self._leaves[x] == partition

    def _left(self, partition: int, victims: Iterable[int]) -> None:
        resident, used, sizes = self.resident, self.used, self.sizes
        for x in victims:
            resident[x] = False
            used[partition] -= sizes[x]
            if self._evicted is not None:
                self._evicted(self.state, x, self.now, self.scores[x])
            if self.on_evict is not None:
                self.on_evict(x)
