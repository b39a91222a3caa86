"""Residency without time, compiled: what ``sim.replay`` does under Belady, for the bounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit, memory, setup
from sim.compiled.arrays import A_PARTITION, CAPACITY, NOW_AT, PIN, Array, Tier
from sim.compiled.jit import part
from sim.compiled.pointers import bare
from sim.eviction import belady
from sim.eviction.belady import next_use
from sim.garbage import no_collection
from sim.memory import Tier as PlainTier
from sim.workload import Workload


@part
def _soonest_last(t: Tier, experts: Array, count: int, now: int) -> None:
    """Sort the first ``count`` of ``experts`` by next use, the furthest first."""
    for i in range(1, count):
        x, j = experts[i], i
        use = next_use(t.state.future, x, now)
        while j > 0 and next_use(t.state.future, experts[j - 1], now) < use:
            experts[j] = experts[j - 1]
            j -= 1
        experts[j] = x


@jit.kernel
def replay(t: Tier, routed: Array, first_routed: Array, missing: Array, misses: Array) -> None:
    """``misses`` [layer-steps]: how many experts each misses; ``missing`` is scratch.

    The set of layer-step i is ``routed[first_routed[i]:first_routed[i + 1]]``.
    """
    layer_steps = len(misses)
    t, routed, first_routed = bare(t), bare(routed), bare(first_routed)
    missing, misses = bare(missing), bare(misses)
    for index in range(layer_steps):
        first, end = first_routed[index], first_routed[index + 1]
        t.of[NOW_AT] = t.of[PIN] = index
        count = 0
        for i in range(first, end):
            x = routed[i]
            t.pin[x] = index
            if t.resident[x]:
                memory.use(t, x)
            else:
                missing[count] = x
                count += 1
        misses[index] = count
        if count > 0:
            x = missing[0]
            room = t.part[memory.partition(t, x) * A_PARTITION + CAPACITY]
            streams = t.size[x] * (end - first) > room
            if streams:  # what is needed again soonest stays
                _soonest_last(t, missing, count, index + 1)
                t.of[PIN] = -1
            for i in range(count):
                x = missing[i]
                memory.reserve(t, x)
                memory.insert(t, x, True)


def fewest_loads(workload: Workload, cache: PlainTier) -> NDArray[np.int16]:
    """[layer-steps]: how many experts Belady misses, from ``cache`` as it stands."""
    table = workload.table
    misses = np.empty(len(table.first_routed) - 1, dtype=np.int16)
    missing = np.empty(workload.experts, dtype=np.int64)
    tier = setup.make_tier(cache, belady, -1)
    with no_collection():
        replay(tier, table.routed, table.first_routed, missing, misses)
    return misses
