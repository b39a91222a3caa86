"""Works out how many bytes of experts each memory holds, and checks it against the hardware."""

from __future__ import annotations

import numpy as np

from prefetch_sim.hardware_profiles import HardwareProfile
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.cost.reserve import Reserve
from prefetch_sim.traces.models.spec import ModelSpec


def per_expert(model: ModelSpec, sizes: list[int]) -> list[int]:
    """``sizes`` [layer] of one expert, for every expert."""
    return np.repeat(sizes, model.experts).tolist()


def cache_bytes(
    config: RunConfig,
    model: ModelSpec,
    sizes: list[int],
    profile: HardwareProfile,
    beside: Reserve,
) -> list[int]:
    memory = profile.compute.memory_gib.value
    left = int(memory * 2**30) - beside.total
    total = config.cache.capacity.resolve(per_expert(model, sizes), left)
    if total <= 0:
        raise ConfigError(
            f"cache.capacity: nothing is left to fill in the {memory:g} GiB of {profile.name} "
            f"beside {beside}"
        )
    if total > left:
        raise ConfigError(
            f"cache.capacity: {total / 2**30:.2f} GiB do not fit in the {memory:g} GiB of "
            f"{profile.name} beside {beside}"
        )
    whole = sum(sizes) * model.experts
    if config.cache.scope == "global":
        capacities, needed = [total], [max(sizes) * model.top_k]
    else:
        capacities = [total * size * model.experts // whole for size in sizes]
        needed = [size * model.top_k for size in sizes]
    for layer, (has, needs) in enumerate(zip(capacities, needed)):
        if has < needs:
            where = "" if config.cache.scope == "global" else f" in layer {layer}"
            raise ConfigError(
                f"cache.capacity: {has / 2**20:.1f} MiB{where} cannot hold one layer's "
                f"top-{model.top_k} ({needs / 2**20:.1f} MiB)"
            )
    return capacities


def host_bytes(
    config: RunConfig, model: ModelSpec, sizes: list[int], profile: HardwareProfile
) -> int | None:
    everything = sum(sizes) * model.experts
    left = everything if profile.host is None else int(profile.host.memory_gib.value * 2**30)
    capacity = config.host.capacity.resolve(per_expert(model, sizes), left)
    if profile.host is None:
        if capacity < everything:
            raise ConfigError(
                f"host.capacity: {profile.name} has one memory, which the cache is in; "
                "storage is right below it"
            )
        return None
    memory = profile.host.memory_gib.value
    if min(capacity, everything) > memory * 2**30:
        raise ConfigError(
            f"host.capacity: {min(capacity, everything) / 2**30:.1f} GiB of experts exceed the "
            f"{memory:g} GiB of {profile.name}'s host memory; set host.capacity below that"
        )
    if capacity >= everything:
        return None
    if capacity < max(sizes):
        raise ConfigError(f"host.capacity: {capacity / 2**20:.1f} MiB cannot hold one expert")
    return capacity
