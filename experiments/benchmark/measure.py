"""What all benchmarks share: a run's configuration, its processor time, a table in Markdown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup import inputs
from prefetch_sim.sim.setup.inputs import Inputs

ROUNDS = 5
T = TypeVar("T")


def load(capacity: str, engine: str = "compiled", **keys: Any) -> Inputs:
    """A run's inputs: the sample trace on an RTX 4090, unless ``keys`` say otherwise."""
    config = {
        "engine": engine,
        "trace": "mini-gpt-oss",
        "model": "gpt-oss-20b",
        "hardware": "rtx-4090",
        "cache": {"capacity": capacity, "eviction": keys.pop("eviction", "lru")},
    }
    return inputs.load(RunConfig.model_validate(config | keys))


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """(s of processor time, what it returned)."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def run(run: Inputs) -> tuple[float, Simulation]:
    """(s of processor time, the run as its results need it), set-up included, bounds apart."""
    return timed(lambda: simulate(run, records=False))


def layer_steps(done: Simulation) -> int:
    return len(done.steps) * done.inputs.workload.layers


def hit_rate(done: Simulation) -> float:
    experts, hits, _ = done.totals.layers.counts.sum(axis=(0, 1)).tolist()
    return float(hits / experts)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; all but the first column to the right."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
