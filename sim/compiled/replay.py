"""Residency without time, compiled: the hits and misses of a run that loads on demand only.

Time has no part in them where every routed set fits in the cache, so runs that differ in hardware
share them; under Belady they are the fewest loads, for the bounds.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from sim.compiled import jit, memory
from sim.compiled.arrays import FAR, Array, Tier
from sim.compiled.jit import part
from sim.compiled.pointers import bare
from sim.compiled.tiers import make_tier
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
def replay(
    t: Tier, layers: int, routed: Array, first_routed: Array, missing: Array, missed: Array
) -> None:
    """``missed`` [routed]: 1 for what is not there when it is needed; ``missing`` is scratch.

    The set of layer-step i is ``routed[first_routed[i]:first_routed[i + 1]]``.
    """
    layer_steps = len(first_routed) - 1
    t, routed, first_routed = bare(t), bare(routed), bare(first_routed)
    missing, missed = bare(missing), bare(missed)
    for index in range(layer_steps):
        first, end = first_routed[index], first_routed[index + 1]
        t.at.now = t.at.pin = index
        count = 0
        for i in range(first, end):
            x = routed[i]
            t.pin[x] = index
            missed[i] = 1 - t.resident[x]
            if t.resident[x]:
                memory.use(t, x)
            else:
                missing[count] = x
                count += 1
        if t.passed:
            memory.routed(t, index % layers)
        if count > 0:
            if not memory.fits(t, missing[0], end - first):  # what is needed again soonest stays
                _soonest_last(t, missing, count, index + 1)
                t.at.pin = FAR
            for i in range(count):
                x = missing[i]
                memory.reserve(t, x)
                memory.insert(t, x, True)


def misses(workload: Workload, cache: PlainTier, eviction: ModuleType) -> NDArray[np.int8]:
    """[routed]: which experts ``cache``, as it stands, misses.

    A set that does not fit streams through in Belady's order, whatever the eviction.
    """
    table = workload.table
    missed = np.empty(len(table.routed), dtype=np.int8)
    missing = np.empty(workload.experts, dtype=np.int64)
    tier = make_tier(cache, eviction)
    with no_collection():
        replay(tier, workload.layers, table.routed, table.first_routed, missing, missed)
    return missed
