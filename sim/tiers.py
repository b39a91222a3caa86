"""The memory tiers of a run as it begins, and the fewest loads that its cache allows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.bounds import belady_misses
from sim.engines import Engine
from sim.eviction import belady, lru
from sim.eviction.base import Future
from sim.inputs import Inputs
from sim.memory import Tier
from sim.workload import Workload


def make_cache(inputs: Inputs) -> Tier:
    """The expert cache, warmed as the config says."""
    eviction = inputs.eviction
    future = inputs.workload.future() if getattr(eviction, "LOOKS_AHEAD", False) else None
    return _cache_tier(
        inputs.workload,
        tuple(inputs.sizes),
        tuple(inputs.cache_bytes),
        inputs.config.cache.warm,
        eviction,
        future,
        inputs.config.seed,
    )


def fewest_loads(inputs: Inputs, engine: Engine) -> npt.NDArray[np.int16]:
    """Belady's misses by layer-step, for the bounds."""
    sizes, capacities = tuple(inputs.sizes), tuple(inputs.cache_bytes)
    return _misses(inputs.workload, sizes, capacities, inputs.config.cache.warm, engine)


@lru_cache(maxsize=16)  # two bytes a layer-step each
def _misses(
    workload: Workload,
    sizes: tuple[int, ...],
    capacities: tuple[int, ...],
    warm: str,
    engine: Engine,
) -> npt.NDArray[np.int16]:
    """Belady's misses: the same for all runs of a sweep that share trace, sizes and cache."""

    def tier(eviction: Any, future: Future | None) -> Tier:
        return _cache_tier(workload, sizes, capacities, warm, eviction, future, 0)

    if engine == "compiled":
        from sim.compiled import replay

        return replay.fewest_loads(workload, tier(belady, workload.future()))
    return np.array(belady_misses(workload, tier), dtype=np.int16)


def _cache_tier(
    workload: Workload,
    sizes: tuple[int, ...],
    capacities: tuple[int, ...],
    warm: str,
    eviction: Any,
    future: Future | None,
    seed: int,
) -> Tier:
    experts = workload.experts
    partitions = np.repeat(np.arange(workload.layers), experts)
    if len(capacities) == 1:
        partitions[:] = 0
    tier = Tier(
        np.repeat(sizes, experts).tolist(),
        capacities,
        partitions.tolist(),
        workload.layers,
        eviction,
        seed=seed,
        future=future,
    )
    _fill(tier, _warm_order(workload, warm))
    return tier


def make_host(inputs: Inputs) -> Tier | None:
    """Host memory, if some experts do not fit there: then it starts full."""
    if inputs.host_bytes is None:
        return None
    workload = inputs.workload
    sizes = np.repeat(inputs.sizes, workload.experts).tolist()
    tier = Tier(sizes, [inputs.host_bytes], [0] * len(sizes), workload.layers, lru)
    _fill(tier, _warm_order(workload, "first"))
    return tier


def _warm_order(workload: Workload, warm: str) -> list[int]:
    """Flat ids in the order in which a warm cache is filled, the layers evenly."""
    layers, experts = workload.layers, workload.experts
    if warm == "none":
        return []
    ids = np.arange(layers * experts).reshape(layers, experts)
    if warm == "popular":
        order = np.argsort(-workload.popularity, axis=1, kind="stable")
        ids = np.take_along_axis(ids, order, axis=1)
    filled: list[int] = ids.T.ravel().tolist()
    return filled


def _fill(tier: Tier, order: list[int]) -> None:
    for x in order:
        if tier.sizes[x] <= tier.free[tier.partition_of[x]]:
            tier.reserve(x)
            tier.insert(x)
