"""The memory tiers of a run as it begins, and what its cache misses if nothing is prefetched."""

from __future__ import annotations

import operator
from functools import lru_cache
from types import ModuleType
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
    return _cache_tier(
        inputs.workload,
        tuple(inputs.sizes),
        tuple(inputs.cache_bytes),
        inputs.config.cache.warm,
        eviction,
        _future(inputs.workload, eviction),
        inputs.config.seed,
    )


def fewest_loads(inputs: Inputs, engine: Engine) -> npt.NDArray[np.int16]:
    """Belady's misses by layer-step, for the bounds."""
    sizes, capacities = tuple(inputs.sizes), tuple(inputs.cache_bytes)
    return _fewest(inputs.workload, sizes, capacities, inputs.config.cache.warm, engine)


def known_misses(inputs: Inputs) -> npt.NDArray[np.int8]:
    """[routed]: which experts the cache misses, of a run in which time has no part in that.

    That is for the compiled engine to know (``setup.timeless``).
    """
    sizes, capacities = tuple(inputs.sizes), tuple(inputs.cache_bytes)
    warm, seed = inputs.config.cache.warm, inputs.config.seed
    return replayed(inputs.workload, sizes, capacities, warm, inputs.eviction, seed)


def keeps_all(inputs: Inputs) -> bool:
    """Whether the cache has room for every expert, so that none ever leaves."""
    needed = [inputs.workload.experts * size for size in inputs.sizes]
    if len(inputs.cache_bytes) == 1:
        needed = [sum(needed)]
    return all(map(operator.le, needed, inputs.cache_bytes))


@lru_cache(maxsize=4)  # a byte a routed expert each
def replayed(
    workload: Workload,
    sizes: tuple[int, ...],
    capacities: tuple[int, ...],
    warm: str,
    eviction: ModuleType,
    seed: int,
) -> npt.NDArray[np.int8]:
    """The same for all runs of a sweep that share trace, sizes, cache and eviction."""
    from sim.compiled import replay

    future = _future(workload, eviction)
    cache = _cache_tier(workload, sizes, capacities, warm, eviction, future, seed)
    return replay.misses(workload, cache, eviction)


@lru_cache(maxsize=16)  # two bytes a layer-step each
def _fewest(
    workload: Workload,
    sizes: tuple[int, ...],
    capacities: tuple[int, ...],
    warm: str,
    engine: Engine,
) -> npt.NDArray[np.int16]:
    """Belady's misses: the same for all runs of a sweep that share trace, sizes and cache."""
    if engine == "compiled":
        missed = replayed(workload, sizes, capacities, warm, belady, 0)
        first = workload.table.first_routed
        fewest = np.zeros(len(first) - 1, dtype=np.int16)
        some = np.flatnonzero(first[1:] > first[:-1])
        fewest[some] = np.add.reduceat(missed, first[some], dtype=np.int16)
        return fewest

    def tier(eviction: Any, future: Future | None) -> Tier:
        return _cache_tier(workload, sizes, capacities, warm, eviction, future, 0)

    return np.array(belady_misses(workload, tier), dtype=np.int16)


def _future(workload: Workload, eviction: ModuleType) -> Future | None:
    return workload.future() if getattr(eviction, "LOOKS_AHEAD", False) else None


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
