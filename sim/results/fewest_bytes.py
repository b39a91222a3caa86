"""Works out the fewest bytes that a run could have moved, once for runs that share a cache."""

from __future__ import annotations

from prefetch_sim.sim.eviction import lru
from prefetch_sim.sim.results.traffic import least_traffic
from prefetch_sim.sim.setup.engine_choice import Engine
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.tiers import ExpertCache
from prefetch_sim.sim.workload.step_table import Integers

_FEWEST_KEPT = 16  # eight bytes a layer-step each


def fewest_bytes(inputs: Inputs, engine: Engine) -> Integers:
    """[layer-steps]: what any policy must have moved by the end of each, for the bounds."""
    cache = ExpertCache.of(inputs)
    workload, *rest = cache
    return workload.memos.get(
        "fewest bytes", (*rest, engine), _FEWEST_KEPT, lambda: _fewest(cache, engine)
    )


def _fewest(cache: ExpertCache, engine: Engine) -> Integers:
    tier = cache.tier(lru, 0)
    return least_traffic(
        cache.workload,
        cache.sizes,
        tier.room,
        tier.resident,
        cache.static,
        compiled=engine == "compiled",
    )
