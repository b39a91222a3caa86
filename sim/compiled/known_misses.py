"""What a cache misses where time has no part in it, known for other runs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.tiers import ExpertCache

_MISSES_KEPT = 4  # a byte a routed expert each


def known_misses(inputs: Inputs) -> npt.NDArray[np.int8]:
    """[routed]: which experts the cache misses, of a run in which time has no part in that.

    That is for the compiled engine to know (``setup.timeless``).
    """
    from prefetch_sim.sim.compiled import replay

    workload, *rest = cache = ExpertCache.of(inputs)
    eviction, seed = inputs.eviction, inputs.config.seed
    return workload.memos.get(
        "misses",
        (*rest, eviction, seed),
        _MISSES_KEPT,
        lambda: replay.misses(workload, cache.tier(eviction, seed), eviction),
    )
