"""Works out, compiled and without time, what hits and misses in a run that loads on demand only.

Time has no part in them where every routed set fits in the cache, so runs that differ in hardware
share them.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from prefetch_sim.sim.compiled import memory
from prefetch_sim.sim.compiled.arrays import Array, Tier
from prefetch_sim.sim.compiled.tiers import make_tier
from prefetch_sim.sim.engine.garbage import no_collection
from prefetch_sim.sim.engine.tier import Tier as PlainTier
from prefetch_sim.sim.jit import jit
from prefetch_sim.sim.jit.pointers import bare
from prefetch_sim.sim.workload.workload import Workload


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
            if t.resident[x]:
                missed[i] = 0
                memory.use(t, x)
            else:
                missed[i] = 1
                missing[count] = x
                count += 1
        if t.not_routed:
            memory.routed(t, index % layers)
        for i in range(count):
            memory.reserve(t, missing[i])
            memory.insert(t, missing[i], True)


def misses(workload: Workload, cache: PlainTier, eviction: ModuleType) -> NDArray[np.int8]:
    """[routed]: which experts ``cache``, as it stands and has room for every set, misses."""
    table = workload.table
    missed = np.empty(len(table.routed), dtype=np.int8)
    missing = np.empty(workload.experts, dtype=np.int64)
    tier = make_tier(cache, eviction)
    with no_collection():
        replay(tier, workload.layers, table.routed, table.first_routed, missing, missed)
    return missed
