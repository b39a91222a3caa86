"""One run: from a checked config to records and results."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import simpy

from sim import inputs as read
from sim.bounds import belady_misses, bounds
from sim.config import RunConfig
from sim.cost import CostModel
from sim.device import SimulatedDevice
from sim.engine import ForwardPass, Hook
from sim.eviction import lru
from sim.eviction.base import Future
from sim.inputs import Inputs
from sim.loads import Loader
from sim.memory import Tier
from sim.metrics import summarise
from sim.predictors.base import Table
from sim.records import LayerRecords, LoadRecords, StepRecords
from sim.tabulate import tabulate
from sim.workload import Workload


@dataclass(frozen=True)
class Simulation:
    """A finished run: its records, and the parts that made them."""

    inputs: Inputs
    cost: CostModel
    device: SimulatedDevice
    loader: Loader
    hooks: list[Hook]
    layers: LayerRecords
    steps: StepRecords
    loads: LoadRecords
    events: int


def simulate(
    inputs: Inputs,
    watch: Callable[[SimulatedDevice, Loader], None] | None = None,
    cost: CostModel | None = None,
) -> Simulation:
    """Run the whole workload.

    ``watch`` may attach observers to device and loader first; ``cost`` replaces the model that
    the inputs imply.
    """
    config, workload = inputs.config, inputs.workload
    env = simpy.Environment()
    records = LoadRecords()
    future = workload.future() if getattr(inputs.eviction, "LOOKS_AHEAD", False) else None
    cache = make_tier(inputs, inputs.eviction, future)
    host = None if inputs.host_bytes is None else _host_tier(inputs, inputs.host_bytes)
    loader = Loader(env, cache, host, records)
    device = SimulatedDevice(env, inputs.profile, loader, inputs.sizes)
    if cost is None:
        cost = cost_model(inputs)
    hooks = [
        Hook(
            i,
            predictor,
            workload,
            _table(inputs, i),
            inline=params.placement == "inline",
            cost=cost,
            cost_ns=None if params.cost_us is None else round(params.cost_us * 1e3),
        )
        for i, (_, predictor, params) in enumerate(inputs.predictors)
    ]
    forward = ForwardPass(
        workload,
        cost,
        device,
        loader,
        hooks,
        inputs.policy,
        extra=config.prefetch.extra,
        threshold=config.prefetch.threshold,
        cancel_stale=config.prefetch.cancel_stale,
        grouped=config.overlap == "grouped",
    )
    if watch is not None:
        watch(device, loader)
    with _no_collection():
        env.run(env.process(forward.run()))
    # SimPy numbers its events with this counter, so it has counted them all.
    events = next(env._eid)
    return Simulation(
        inputs,
        cost,
        device,
        loader,
        hooks,
        forward.layer_records,
        forward.step_records,
        records,
        events,
    )


def _table(inputs: Inputs, index: int) -> Table:
    """What a predictor says, worked out once for all runs on the same workload."""
    name, predictor, params = inputs.predictors[index]
    key = (name, params.model_dump_json(), inputs.config.seed)
    known = inputs.workload.tables
    if key not in known:
        known[key] = tabulate(predictor, inputs.workload)
    return known[key]


@contextmanager
def _no_collection() -> Iterator[None]:
    """The engine makes many short-lived objects and no cycles: looking for some is wasted."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def run(config: RunConfig) -> dict[str, Any]:
    """Load, simulate, summarise: the object that ``prefetch-sim run --json`` prints."""
    inputs = read.load(config)
    _fewest_loads(inputs)  # before the records grow: it needs much memory, and gives it back
    return results(simulate(inputs))


def results(done: Simulation) -> dict[str, Any]:
    """The results of a finished run, bounds included."""
    inputs = done.inputs
    workload = inputs.workload
    caches = inputs.cache_bytes
    if len(caches) == 1:
        caches = caches * workload.layers
    limits = bounds(
        workload,
        done.cost,
        _fewest_loads(inputs),
        done.device.wire_ns,
        [cache // size for cache, size in zip(caches, inputs.sizes)],
        inputs.config.overlap == "grouped",
    )
    summary = summarise(
        workload.steps(),
        workload.layers,
        done.layers,
        done.steps,
        done.loads,
        done.loader,
        done.device.rates,
        limits,
    )
    names = [name for name, _, _ in inputs.predictors]
    labels = [n if names.count(n) == 1 else f"{n}.{i}" for i, n in enumerate(names)]
    quality = {label: hook.quality.summary() for label, hook in zip(labels, done.hooks)}
    return {
        "name": inputs.config.name,
        "model": inputs.model.name,
        "hardware": inputs.profile.name,
        "cache": {"bytes": sum(inputs.cache_bytes)},
        "config": inputs.config.model_dump(mode="json"),
        **summary,
        "predictors": quality,
        "events": done.events,
    }


def cost_model(inputs: Inputs) -> CostModel:
    config = inputs.config
    return CostModel(
        inputs.model,
        inputs.profile,
        precision=config.precision or inputs.model.precision,
        kernels=config.kernels,
    )


def make_tier(inputs: Inputs, eviction: Any, future: Future | None) -> Tier:
    """The expert cache, warmed as the config says."""
    return _cache_tier(
        inputs.workload,
        tuple(inputs.sizes),
        tuple(inputs.cache_bytes),
        inputs.config.cache.warm,
        eviction,
        future,
        inputs.config.seed,
    )


def _fewest_loads(inputs: Inputs) -> array[int]:
    """Belady's misses by layer-step, for the bounds."""
    sizes, capacities = tuple(inputs.sizes), tuple(inputs.cache_bytes)
    return _misses(inputs.workload, sizes, capacities, inputs.config.cache.warm)


@lru_cache(maxsize=16)
def _misses(
    workload: Workload, sizes: tuple[int, ...], capacities: tuple[int, ...], warm: str
) -> array[int]:
    """Belady's misses: the same for all runs of a sweep that share trace, sizes and cache."""
    return belady_misses(
        workload,
        lambda eviction, future: _cache_tier(
            workload, sizes, capacities, warm, eviction, future, 0
        ),
    )


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


def _host_tier(inputs: Inputs, capacity: int) -> Tier:
    workload = inputs.workload
    sizes = np.repeat(inputs.sizes, workload.experts).tolist()
    tier = Tier(sizes, [capacity], [0] * len(sizes), workload.layers, lru)
    _fill(tier, _warm_order(workload, "first"))
    return tier


def _warm_order(workload: Workload, warm: str) -> list[int]:
    """Flat ids in the order in which a warm cache is filled, the layers evenly."""
    layers, experts = workload.layers, workload.experts
    if warm == "none":
        return []
    ids = np.arange(layers * experts).reshape(layers, experts)
    if warm == "popular":
        used = workload.flat[workload.flat >= 0]
        counts = np.bincount(used, minlength=layers * experts).reshape(layers, experts)
        ids = np.take_along_axis(ids, np.argsort(-counts, axis=1, kind="stable"), axis=1)
    order: list[int] = ids.T.ravel().tolist()
    return order


def _fill(tier: Tier, order: list[int]) -> None:
    for x in order:
        if tier.sizes[x] <= tier.free[tier.partition_of[x]]:
            tier.reserve(x)
            tier.insert(x)
