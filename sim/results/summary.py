"""Sums up a finished run: its metrics, how good its predictors were, and its bounds."""

from __future__ import annotations

from typing import Any

from prefetch_sim.sim.results.bounds import Bounds, bounds
from prefetch_sim.sim.results.fewest_bytes import fewest_bytes
from prefetch_sim.sim.results.metrics import summarise
from prefetch_sim.sim.results.quality import Quality
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.setup.engine_choice import Engine
from prefetch_sim.sim.setup.parts import predictor_key
from prefetch_sim.sim.setup.tiers import ExpertCache

_BOUNDS_KEPT = 16
_QUALITIES_KEPT = 16


def results(done: Simulation) -> dict[str, Any]:
    """The results of a finished run, bounds included."""
    inputs = done.inputs
    summary = summarise(
        inputs.workload.table,
        done.totals,
        done.steps,
        [stage.name for stage in done.path.stages],
        [stage.bytes_per_ns for stage in done.path.stages],
        done.own_ns,
        None if done.engine == "replay" else _bounds(done, done.engine),
    )
    names = [name for name, _, _ in inputs.predictors]
    labels = [n if names.count(n) == 1 else f"{n}.{i}" for i, n in enumerate(names)]
    quality = {label: _quality(done, i) for i, label in enumerate(labels)}
    return {
        "name": inputs.config.name,
        "model": inputs.model.name,
        "hardware": inputs.profile.name,
        "as_given": inputs.as_given,
        "runtime": {
            **inputs.runtime.model_dump(include={"name", "kernels", "overlap"}),
            "lacks": " + ".join(inputs.lacking) or None,
        },
        "cache": {
            "bytes": sum(inputs.cache_bytes),
            "static": {
                "experts": len(inputs.static),
                "bytes": sum(inputs.cache_bytes) - sum(inputs.rooms),
            },
        },
        "config": inputs.config.model_dump(mode="json"),
        "engine": done.engine,
        **summary,
        "predictors": quality,
        "events": done.events,
    }


def _quality(done: Simulation, index: int) -> dict[str, Any]:
    """How good a predictor was: worked out once for runs that build it from the same."""
    inputs, said = done.inputs, done.predictors[index]
    return inputs.workload.memos.get(
        "quality",
        predictor_key(inputs, index),
        _QUALITIES_KEPT,
        lambda: Quality(inputs.workload, said.table, said.distance).summary(),
    )


def _bounds(done: Simulation, engine: Engine) -> Bounds:
    """Worked out once for runs that differ in predictors and policies alone."""
    inputs, layers = done.inputs, done.inputs.workload.layers
    cache, wire = ExpertCache.of(inputs)[1:], tuple(done.path.least_ns)
    overlap, cpu = inputs.runtime.overlap, inputs.cpu_computes
    key = done.cost, cache, wire, overlap, cpu, engine
    by_layer = inputs.rooms if len(inputs.rooms) > 1 else inputs.rooms * layers
    return inputs.workload.memos.get(
        "bounds",
        key,
        _BOUNDS_KEPT,
        lambda: bounds(
            inputs.workload,
            done.cost,
            fewest_bytes(inputs, engine),
            inputs.sizes,
            wire,
            [room // size for room, size in zip(by_layer, inputs.sizes)],
            overlap,
            cpu,
        ),
    )
