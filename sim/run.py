"""Runs a checked config: inputs become records and results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import simpy

from prefetch_sim.sim.config.foreign import blamed
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.engine.forward_pass import ForwardPass
from prefetch_sim.sim.engine.garbage import no_collection
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.plan import Plan
from prefetch_sim.sim.engine.records import LayerRecords, LoadRecords
from prefetch_sim.sim.machine.device import SimulatedDevice
from prefetch_sim.sim.results.simulation import Replayed, Simulation
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.setup import engine_choice
from prefetch_sim.sim.setup import inputs as read
from prefetch_sim.sim.setup.engine_choice import Engine
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.parts import active_predictors, cost_model, decisions, load_path
from prefetch_sim.sim.setup.tiers import make_cache, make_host


@blamed
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
    engine = engine or engine_choice.choose(inputs, watched=watch is not None)
    cost = cost or cost_model(inputs)
    predictors, path = active_predictors(inputs, cost), load_path(inputs)
    parts = inputs, engine, cost, path, predictors
    cache, host = make_cache(inputs), make_host(inputs)
    if engine == "compiled":
        from prefetch_sim.sim.compiled.engine import simulate as compiled

        tiers = cache, host
        return Simulation(
            *parts, *compiled(inputs, cost, predictors, path, tiers, records, one_of_many)
        )
    env = simpy.Environment()
    loader = Loader(cache, host, LoadRecords(records), inputs.workload.table.prefill.tolist())
    device = SimulatedDevice(env, path, loader)
    plan = None
    if inputs.cpu_computes:
        assert cost.cpu is not None
        plan = Plan(inputs.misses, cost.cpu, path, loader, inputs.config.misses.up_to)
    forward = ForwardPass(
        inputs.workload,
        cost,
        device,
        loader,
        predictors,
        decisions(inputs, loader, path, len(predictors)),
        plan,
        overlap=inputs.runtime.overlap,
    )
    if watch is not None:
        watch(device, loader)
    with no_collection():
        env.run(env.process(forward.run()))
    # SimPy numbers its events with this counter, so it has counted them all.
    events = next(env._eid)
    layers, steps, loads = forward.layer_records, forward.step_records, loader.records
    totals = loader.totals(layers, steps, forward.bookkeeping_ns)
    return Simulation(*parts, layers if records else LayerRecords(), steps, loads, totals, events)


@blamed
def replay(
    inputs: Inputs,
    *,
    device: Literal["cpu", "cuda"],
    storage: Path | None = None,
    pinned: int | None = None,
    watch: Callable[[Any, Loader], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Replayed:
    """Run the whole workload on a real device: the same decisions, at times that are measured.

    ``storage``: a folder for the file of experts, where they come off storage. ``pinned``: the most
    bytes of host memory that a GPU's experts may take; where all do not fit, several share a block.
    ``watch`` may attach observers to device and loader first; ``progress`` is told what is done,
    how much, and of how much. Raises ConfigError where a replay cannot do what the config asks for,
    and ReplayError where the device fails. Needs torch.
    """
    from prefetch_sim.sim.replay.engine import replay as on_device

    cost = cost_model(inputs)
    predictors, path = active_predictors(inputs, cost), load_path(inputs)
    tiers = make_cache(inputs), make_host(inputs)
    parts = inputs, cost, predictors, path, tiers
    found = on_device(*parts, device, storage, pinned, watch, progress)
    records = found.layers, found.steps, found.loads, found.totals
    done = Simulation(inputs, "replay", cost, path, predictors, *records, events=0)
    return Replayed(done, found.outputs, found.machine)


def run(config: RunConfig) -> dict[str, Any]:
    """Load, simulate, summarise: the object that ``prefetch-sim run --json`` prints."""
    return run_inputs(read.load(config))


def run_inputs(
    inputs: Inputs, one_of_many: bool = False, engine: Engine | None = None
) -> dict[str, Any]:
    """The results of a run that is loaded already; the keys are those of ``simulate``."""
    return results(simulate(inputs, records=False, one_of_many=one_of_many, engine=engine))
