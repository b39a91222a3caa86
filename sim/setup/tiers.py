"""Builds the memory tiers of a run as it begins, warmed as its config says."""

from __future__ import annotations

import operator
from collections.abc import Set
from types import ModuleType
from typing import NamedTuple

import numpy as np

from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.eviction import lru
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.workload.workload import Workload


class ExpertCache(NamedTuple):
    """Says which expert cache a run has, whatever its eviction: runs of a sweep may share it."""

    workload: Workload
    sizes: tuple[int, ...]
    capacities: tuple[int, ...]
    warm: str
    static: tuple[int, ...]

    @classmethod
    def of(cls, inputs: Inputs) -> ExpertCache:
        sizes, capacities = tuple(inputs.sizes), tuple(inputs.cache_bytes)
        return cls(inputs.workload, sizes, capacities, inputs.config.cache.warm, inputs.static)

    def tier(self, eviction: ModuleType, seed: int) -> Tier:
        """The cache, warmed, with the trace's future where ``eviction`` looks ahead."""
        layers, experts = self.workload.layers, self.workload.experts
        ahead = getattr(eviction, "LOOKS_AHEAD", False)
        partitions = np.repeat(np.arange(layers), experts)
        if len(self.capacities) == 1:
            partitions[:] = 0
        tier = Tier(
            np.repeat(self.sizes, experts).tolist(),
            self.capacities,
            partitions.tolist(),
            layers,
            eviction,
            seed=seed,
            future=self.workload.future() if ahead else None,
            static=self.static,
        )
        _fill(tier, _warm_order(self.workload, self.warm, tier.static))
        return tier


def make_cache(inputs: Inputs) -> Tier:
    """The expert cache, warmed as the config says."""
    return ExpertCache.of(inputs).tier(inputs.eviction, inputs.config.seed)


def keeps_all(inputs: Inputs) -> bool:
    """Whether the cache has room for every expert, so that none ever leaves."""
    needed = [inputs.workload.experts * size for size in inputs.sizes]
    if len(inputs.cache_bytes) == 1:
        needed = [sum(needed)]
    return all(map(operator.le, needed, inputs.cache_bytes))


def make_host(inputs: Inputs) -> Tier | None:
    """Makes host memory, if some experts do not fit there: then it starts full."""
    if inputs.host_bytes is None:
        return None
    workload = inputs.workload
    sizes = np.repeat(inputs.sizes, workload.experts).tolist()
    tier = Tier(sizes, [inputs.host_bytes], [0] * len(sizes), workload.layers, lru)
    _fill(tier, _warm_order(workload, "first", frozenset(inputs.static)))
    return tier


def _warm_order(workload: Workload, warm: str, static: Set[int]) -> list[int]:
    """Flat ids, the layers evenly, from what is to stay longest on: the most popular, or else the
    first, the lowest ids. Without the ``static`` ones, which are never loaded.
    """
    layers, experts = workload.layers, workload.experts
    if warm == "none":
        return []
    ids = np.arange(layers * experts).reshape(layers, experts)
    if warm == "popular":
        order = np.argsort(-workload.popularity, axis=1, kind="stable")
        ids = np.take_along_axis(ids, order, axis=1)
    filled: list[int] = ids.T.ravel().tolist()
    return [x for x in filled if x not in static] if static else filled


def _fill(tier: Tier, order: list[int]) -> None:
    """Hold as much of ``order`` as fits, before anything runs.

    It arrives backwards, as what arrives last leaves last. To an eviction that goes by time all
    of it arrives at once.
    """
    chosen = [x for x in order if tier.reserve(x)]  # nothing is resident that could leave
    for x in reversed(chosen):
        tier.insert(x)
