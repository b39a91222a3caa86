"""Works out how many bytes of experts each memory holds, and checks it against the hardware."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefetch_sim.hardware_profiles import HardwareProfile
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.cost.reserve import Reserve
from prefetch_sim.traces.models.spec import ModelSpec


def per_expert(model: ModelSpec, sizes: list[int]) -> list[int]:
    """``sizes`` [layer] of one expert, for every expert."""
    return np.repeat(sizes, model.experts).tolist()


def static_bytes(sizes: Sequence[int], experts: int, static: Sequence[int]) -> list[int]:
    """[layer]: bytes of the experts ``static``, flat ids, ``experts`` a layer of ``sizes``."""
    count = np.bincount(np.asarray(static, dtype=np.int64) // experts, minlength=len(sizes))
    return [n * size for n, size in zip(count.tolist(), sizes)]


def cache_total(
    config: RunConfig,
    model: ModelSpec,
    sizes: list[int],
    profile: HardwareProfile,
    beside: Reserve,
) -> int:
    """Bytes of the whole cache, static experts included."""
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
    return total


def cache_bytes(
    config: RunConfig,
    model: ModelSpec,
    sizes: list[int],
    total: int,
    static: Sequence[int],
    *,
    loads: bool = True,
) -> list[int]:
    """Of ``total`` bytes, those of each partition, which its experts of ``static`` count within.

    ``loads``: what a token misses is loaded, so there has to be room for it beside them. Where
    something else can be done with it, nothing has to be left.
    """
    held, k = static_bytes(sizes, model.experts, static), model.top_k
    others = [model.experts * size - taken for size, taken in zip(sizes, held)]
    needed = [min(k * size, other) for size, other in zip(sizes, others)]
    rest = total - sum(held)
    if rest < 0:
        raise ConfigError(
            f"cache.static: {sum(held) / 2**20:.1f} MiB of experts do not fit in the "
            f"{total / 2**20:.1f} MiB of cache.capacity"
        )
    per_layer = config.cache.scope == "layer"
    if per_layer:
        whole = max(sum(others), 1)
        left = [rest * other // whole for other in others]
    else:
        left, held, needed = [rest], [sum(held)], [max(needed)]
    for layer, (has, needs) in enumerate(zip(left, needed)):
        if loads and has < needs:
            where = f" in layer {layer}" if per_layer else ""
            wanted = f"one layer's top-{k} ({needs / 2**20:.1f} MiB)"
            if not static:
                raise ConfigError(
                    f"cache.capacity: {has / 2**20:.1f} MiB{where} cannot hold {wanted}"
                )
            raise ConfigError(
                f"cache.static: {sum(held) / 2**20:.1f} MiB of experts in a cache of "
                f"{total / 2**20:.1f} MiB leave {has / 2**20:.1f} MiB{where}, which cannot hold "
                f"what else there is of {wanted}"
            )
    return [taken + more for taken, more in zip(held, left)]


def host_bytes(
    config: RunConfig,
    model: ModelSpec,
    sizes: list[int],
    profile: HardwareProfile,
    static: Sequence[int],
) -> int | None:
    """None where all that may be loaded is in host memory: static experts need not be."""
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
    held = static_bytes(sizes, model.experts, static)
    loaded = everything - sum(held)
    if min(capacity, loaded) > memory * 2**30:
        raise ConfigError(
            f"host.capacity: {min(capacity, loaded) / 2**30:.1f} GiB of experts exceed the "
            f"{memory:g} GiB of {profile.name}'s host memory; set host.capacity below that"
        )
    if capacity >= loaded:
        return None
    if capacity < max(size for size, taken in zip(sizes, held) if taken < model.experts * size):
        raise ConfigError(f"host.capacity: {capacity / 2**20:.1f} MiB cannot hold one expert")
    return capacity
