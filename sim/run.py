"""One run: from a checked config to records and results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import simpy

from sim import engines
from sim import inputs as read
from sim.bounds import Bounds, bounds
from sim.config import RunConfig
from sim.cost import CostModel
from sim.device import SimulatedDevice
from sim.engine import ForwardPass, Hook
from sim.engines import Engine
from sim.garbage import no_collection
from sim.inputs import Inputs
from sim.loads import Loader
from sim.metrics import summarise
from sim.quality import Quality
from sim.records import LayerRecords, LayerTotals, LoadRecords, StepRecords
from sim.step_table import COSTS_KEPT
from sim.tiers import fewest_bytes, make_cache, make_host

_BOUNDS_KEPT = 16
_SAID_KEPT = 1  # predictors whose tables are kept: each may take a third of a GB


@dataclass(frozen=True)
class Simulation:
    """A finished run: its records, and the parts that made them.

    ``layers`` and ``loads`` are empty where records were not asked for; ``totals`` never are.
    """

    inputs: Inputs
    engine: Engine
    cost: CostModel
    device: SimulatedDevice
    loader: Loader
    hooks: list[Hook]
    layers: LayerRecords
    steps: StepRecords
    loads: LoadRecords
    totals: LayerTotals
    events: int


def simulate(
    inputs: Inputs,
    watch: Callable[[SimulatedDevice, Loader], None] | None = None,
    cost: CostModel | None = None,
    *,
    records: bool = True,
    one_of_many: bool = False,
    engine: Engine | None = None,
) -> Simulation:
    """Run the whole workload.

    ``watch`` may attach observers to device and loader first (SimPy engine only); ``cost``
    replaces the model that the inputs imply; without ``records`` there is none of each layer and
    load, which results do not need and which take the most memory. ``one_of_many``: hits and misses
    are worked out apart, for runs to come, where time has no part in them; for this run alone that
    is up to a fifth more work. ``engine``: chosen already, as for a sweep. Raises ConfigError where
    the engine asked for cannot run it.
    """
    engine = engine or engines.choose(inputs, watched=watch is not None)
    env = simpy.Environment()
    cache, host = make_cache(inputs), make_host(inputs)
    loader = Loader(env, cache, host, LoadRecords(records))
    device = SimulatedDevice(env, inputs.profile, loader, inputs.sizes)
    if cost is None:
        cost = cost_model(inputs)
    hooks = _hooks(inputs, cost)
    parts = inputs, engine, cost, device, loader, hooks
    if engine == "compiled":
        from sim.compiled.engine import simulate as compiled

        tiers = cache, host
        done = compiled(inputs, cost, hooks, device, tiers, loader.records, one_of_many)
        loader.proposed, loader.counts = done.proposed, done.dispositions
        loader.moved_bytes = done.moved_bytes
        return Simulation(*parts, done.layers, done.steps, loader.records, done.totals, done.events)
    prefetch = inputs.config.prefetch
    forward = ForwardPass(
        inputs.workload,
        cost,
        device,
        loader,
        hooks,
        inputs.policy,
        extra=prefetch.extra,
        threshold=prefetch.threshold,
        cancel_stale=prefetch.cancel_stale,
        grouped=inputs.config.overlap == "grouped",
    )
    if watch is not None:
        watch(device, loader)
    with no_collection():
        env.run(env.process(forward.run()))
    # SimPy numbers its events with this counter, so it has counted them all.
    events = next(env._eid)
    layers = forward.layer_records
    totals = layers.totals(forward.step_records.column("prefill"), inputs.workload.layers)
    if not records:
        layers = LayerRecords()
    return Simulation(*parts, layers, forward.step_records, loader.records, totals, events)


def _hooks(inputs: Inputs, cost: CostModel) -> list[Hook]:
    return [
        Hook(
            i,
            predictor,
            inputs.workload,
            _said(inputs, i),
            inline=params.placement == "inline",
            cost=cost,
            cost_ns=None if params.cost_us is None else round(params.cost_us * 1e3),
        )
        for i, (_, predictor, params) in enumerate(inputs.predictors)
    ]


def _said(inputs: Inputs, index: int) -> Quality:
    """What a predictor says, and how well: worked out once for runs that build it from the same.

    That is all of ``predictors.base.Context``, and its parameters.
    """
    name, predictor, params = inputs.predictors[index]
    key = (name, params.model_dump_json(), inputs.config.seed, inputs.model)
    return inputs.workload.memos.get(
        "said",
        key,
        max(_SAID_KEPT, len(inputs.predictors)),
        lambda: Quality(inputs.workload, predictor.table(), predictor.distance),
    )


def run(config: RunConfig) -> dict[str, Any]:
    """Load, simulate, summarise: the object that ``prefetch-sim run --json`` prints."""
    return run_inputs(read.load(config))


def run_inputs(
    inputs: Inputs, one_of_many: bool = False, engine: Engine | None = None
) -> dict[str, Any]:
    """The results of a run that is loaded already; the keys are those of ``simulate``."""
    return results(simulate(inputs, records=False, one_of_many=one_of_many, engine=engine))


def results(done: Simulation) -> dict[str, Any]:
    """The results of a finished run, bounds included."""
    inputs = done.inputs
    summary = summarise(
        inputs.workload.table,
        done.totals,
        done.steps,
        done.loads,
        done.loader,
        done.device.rates,
        _bounds(done),
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
        "engine": done.engine,
        **summary,
        "predictors": quality,
        "events": done.events,
    }


def _bounds(done: Simulation) -> Bounds:
    """Worked out once for runs that differ in predictors and policies alone."""
    inputs, layers = done.inputs, done.inputs.workload.layers
    sizes, caches = tuple(inputs.sizes), tuple(inputs.cache_bytes)
    config, wire = inputs.config, tuple(done.device.wire_ns)
    key = done.cost, sizes, caches, wire, config.cache.warm, config.overlap, done.engine
    by_layer = caches if len(caches) > 1 else caches * layers
    return inputs.workload.memos.get(
        "bounds",
        key,
        _BOUNDS_KEPT,
        lambda: bounds(
            inputs.workload,
            done.cost,
            fewest_bytes(inputs, done.engine),
            sizes,
            wire,
            [cache // size for cache, size in zip(by_layer, sizes)],
            config.overlap == "grouped",
        ),
    )


_cost_model = lru_cache(maxsize=COSTS_KEPT)(CostModel)


def cost_model(inputs: Inputs) -> CostModel:
    """The same one for runs of a sweep that share model, hardware and precision."""
    config = inputs.config
    return _cost_model(
        inputs.model,
        inputs.profile,
        precision=config.precision or inputs.model.precision,
        kernels=config.kernels,
    )
