"""The least traffic is what any policy must have moved by the end of each layer-step, in bytes.

From one use to the next an expert either stays in the cache or is loaded again. What stays over a
layer-step has to fit beside the set that is routed there, or, where that set alone is larger than
the cache and streams through, beside one of its experts. Nothing else is asked, neither who is
loaded when nor any rule of an engine, so no policy moves less.

If the cache may keep any part of an expert, to let go the bytes whose next use is furthest is
optimal (Belady 1966, a byte a page), and is so for every beginning of the run at once. That is a
lower bound for whole experts of any sizes, and two things make it a close one:

- Room counts only as far as whole experts can fill it. With one size that leaves Belady's MIN.
- Experts of one size, as if the cache held no other beyond the set being routed, are kept whole.
  Where the sum of that over the sizes is more, it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import unwrap
from math import gcd
from typing import Any

import numpy as np

from prefetch_sim.sim.eviction.base import NEVER
from prefetch_sim.sim.jit.loops import loop, part
from prefetch_sim.sim.workload.step_table import Integers
from prefetch_sim.sim.workload.workload import Workload

_MOST_SUMS = 1 << 24  # beyond, sums of sizes are taken to leave no gaps


def least_traffic(
    workload: Workload,
    sizes: Sequence[int],
    capacities: Sequence[int],
    resident: Sequence[bool],
    static: Sequence[int] = (),
    *,
    compiled: bool,
) -> Integers:
    """[layer-steps]: bytes, from the start of the run on.

    ``sizes`` are by layer, ``capacities`` by partition: one, or one a layer. ``resident``
    [experts]: whether the cache holds it at the start. ``static`` ones stay whatever happens, and
    ``capacities`` are what is left beside them. ``compiled`` makes it faster.
    """
    layers = list(range(workload.layers))
    alone = np.zeros(len(workload.table.kind) * len(layers), dtype=np.int64)
    partitions = [layers] if len(capacities) == 1 else [[layer] for layer in layers]
    for inside, capacity in zip(partitions, capacities):
        partition = _Partition(workload, sizes, inside, capacity, resident, static, compiled)
        for size in {sizes[layer] for layer in inside}:
            alone += partition.traffic([size])
    least = np.cumsum(alone)
    if len(capacities) == 1 and len(set(sizes)) > 1:
        together = partition.traffic(sorted(set(sizes)))
        least = np.maximum(least, np.cumsum(together))
    return least


class _Partition:
    """Works on the experts of the layers ``inside``, which share ``capacity`` bytes."""

    def __init__(
        self,
        workload: Workload,
        sizes: Sequence[int],
        inside: Sequence[int],
        capacity: int,
        resident: Sequence[bool],
        static: Sequence[int],
        compiled: bool,
    ) -> None:
        self._workload, self._capacity = workload, capacity
        self._routed, self._first_routed = _without(workload, static)
        self._bytewise: Callable[..., None] = bytewise if compiled else _interpreted
        steps = len(workload.table.kind)
        self._index = (np.arange(steps)[:, None] * workload.layers + inside).ravel()
        self._size = np.tile(np.asarray(sizes, dtype=np.int64)[inside], steps)
        sets = self._size * np.diff(self._first_routed)[self._index]
        # A set that streams through holds one expert at least, whenever it computes.
        self._beside = capacity - np.where(sets <= capacity, sets, np.minimum(self._size, capacity))
        here = np.isin(np.arange(workload.layers), inside) * np.asarray(sizes)
        self._held = np.repeat(here, workload.experts) * np.asarray(resident)
        self._held[list(static)] = 0

    def traffic(self, sizes: Sequence[int]) -> Integers:
        """[layer-steps]: bytes moved for the experts of these sizes, the least that it may be."""
        positions, start = self._workload.uses
        own = np.flatnonzero(np.isin(self._size, sizes))
        held = np.where(np.isin(self._held, sizes), self._held, 0)
        places = 1 << (len(held) - 1).bit_length()
        moved = np.zeros(len(self._first_routed) - 1, dtype=np.int64)
        values, which = np.unique(np.append(self._beside, self._capacity), return_inverse=True)
        room = _filled(values, sizes)[which]
        beside, whole = room[:-1], int(room[-1])
        self._bytewise(
            self._index[own],
            self._size[own],
            _between(beside, own, whole),
            beside[own],
            whole,
            self._routed,
            self._first_routed,
            positions,
            start[:-1].copy(),
            start[1:].copy(),
            held,
            np.zeros(2 * places, dtype=np.int64),
            moved,
        )
        return moved


def _without(workload: Workload, static: Sequence[int]) -> tuple[Any, Integers]:
    """The routed sets (``StepTable.routed`` and ``first_routed``) without what is static."""
    table = workload.table
    if not static:
        return table.routed, table.first_routed
    other = np.ones(workload.layers * workload.experts, dtype=bool)
    other[list(static)] = False
    kept = other[table.routed]
    return table.routed[kept], np.append(0, np.cumsum(kept))[table.first_routed]


def _between(room: Integers, own: Integers, whole: int) -> Integers:
    """The least of ``room`` after the last one of ``own`` and before each."""
    others = room.copy()
    others[own] = whole
    first = others[: own[0]].min(initial=whole)
    return np.append(first, np.minimum.reduceat(others, own)[:-1])


def _filled(rooms: Integers, sizes: Sequence[int]) -> Integers:
    """How many bytes of each of ``rooms`` experts of ``sizes`` can fill."""
    unit = gcd(*sizes)
    units = rooms // unit
    most = int(units.max())
    if len(sizes) == 1 or most > _MOST_SUMS:
        return units * unit
    sums = 1  # bit n: n units can be filled
    for size in sizes:
        step = size // unit
        while step <= most:
            sums |= sums << step
            step *= 2
        sums &= (2 << most) - 1
    filled = [(sums & ((2 << n) - 1)).bit_length() - 1 for n in units.tolist()]
    return np.array(filled, dtype=np.int64) * unit


@loop
def bytewise(
    index: Any,
    size: Any,
    before: Any,
    beside: Any,
    whole: int,
    routed: Any,
    first_routed: Any,
    positions: Any,
    cursor: Any,
    end: Any,
    held: Any,
    tree: Any,
    moved: Any,
) -> None:
    """Fill ``moved`` at the layer-steps ``index``, of sets of experts of ``size``.

    ``before`` and ``beside`` [index]: how many bytes may stay until a set is routed, and beside
    it; ``whole``: how many the cache holds. ``positions``, ``cursor``, ``end``: the uses of each
    expert, as in ``Future``. ``held`` [experts]: bytes. ``tree``: the later next use of each two.
    """
    places, total = len(tree) // 2, 0
    for x in range(len(held)):
        if held[x] > 0:
            total += held[x]
            _put(tree, places + x, _next(positions, cursor, end, x))
    for i in range(len(index)):
        first, last = first_routed[index[i]], first_routed[index[i] + 1]
        total = _let_go(tree, places, held, total, before[i])
        there = 0
        for j in range(first, last):
            there += held[routed[j]]
        # The set itself is what is used soonest: it is let go last, so not here.
        total = _let_go(tree, places, held, total, there + beside[i])
        missing = (last - first) * size[i] - there
        moved[index[i]] = missing
        total += missing
        for j in range(first, last):
            x = routed[j]
            held[x] = size[i]
            cursor[x] += 1
            _put(tree, places + x, _next(positions, cursor, end, x))
        total = _let_go(tree, places, held, total, whole)


@part
def _next(positions: Any, cursor: Any, end: Any, x: int) -> int:
    """One more than the layer-step of the next use."""
    return 1 + positions[cursor[x]] if cursor[x] < end[x] else NEVER


@part
def _put(tree: Any, i: int, use: int) -> None:
    """The expert at leaf ``i`` is next used at ``use``; 0: nothing of it is held."""
    tree[i] = use
    while i > 1:
        i //= 2
        latest = max(tree[2 * i], tree[2 * i + 1])
        if tree[i] == latest:
            break
        tree[i] = latest


@part
def _let_go(tree: Any, places: int, held: Any, total: int, room: int) -> int:
    """Of ``total`` bytes held keep ``room``, those used soonest; returns how many are kept."""
    while total > room:
        i = 1
        while i < places:
            i = 2 * i + (tree[2 * i + 1] > tree[2 * i])
        x = i - places
        gone = min(held[x], total - room)
        held[x] -= gone
        total -= gone
        if held[x] == 0:
            _put(tree, i, 0)
    return total


def _interpreted(*arguments: Any) -> None:
    """``bytewise`` in Python, which reads memoryviews faster than arrays."""
    plain: Callable[..., None] = unwrap(bytewise)
    views: list[Any] = [a.data if isinstance(a, np.ndarray) else a for a in arguments]
    plain(*views)
