"""Speed of the engines, as ratios of things measured in one process.

``python -m experiments.benchmark``: LRU, top-k prefetch of the recorded pre-attention prediction
on the sample trace, by cache size. For SimPy µs per layer-step, over µs per bare timeout, and the
exact number of events, which no noise touches; for the compiled engine ns per layer-step, its
set-up included and apart from compiling, and how many times faster it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import simpy
from rich.console import Console
from rich.table import Table

from sim import inputs
from sim.config import RunConfig
from sim.run import Simulation, simulate

CAPACITIES = ("25%", "50%", "75%")
ROUNDS = 5
TIMEOUTS = 200_000


def bare_timeout_us() -> float:
    """One process yielding timeouts: what SimPy itself costs per event."""

    def ticks(env: simpy.Environment) -> Iterator[simpy.Event]:
        for _ in range(TIMEOUTS):
            yield env.timeout(1)

    env = simpy.Environment()
    env.process(ticks(env))
    start = time.process_time()
    env.run()
    return (time.process_time() - start) / TIMEOUTS * 1e6


def config(capacity: str, engine: str) -> RunConfig:
    return RunConfig.model_validate(
        {
            "engine": engine,
            "trace": "mini-gpt-oss",
            "requests": "0:16",
            "model": "gpt-oss-20b",
            "hardware": "rtx-4090",
            "predictor": "pre-attention",
            "cache": {"capacity": capacity},
        }
    )


class Measured(NamedTuple):
    """Medians of several rounds; ``*_us`` by layer-step."""

    hit_rate: float
    events: float
    simpy_us: float
    timeouts: float
    compiled_us: float


def measure(capacity: str) -> Measured:
    simpys, timeouts, compileds = [], [], []
    for _ in range(ROUNDS):
        run = inputs.load(config(capacity, "simpy"))
        before = bare_timeout_us()
        cost, done = timed(run)
        simpys.append(cost)
        timeouts.append(cost / ((before + bare_timeout_us()) / 2))
        compileds.append(timed(inputs.load(config(capacity, "compiled")))[0])
    experts, hits, _ = done.totals.counts.sum(axis=(0, 1)).tolist()
    events = done.events / layer_steps(done)
    return Measured(hits / experts, events, median(simpys), median(timeouts), median(compileds))


def layer_steps(done: Simulation) -> int:
    return len(done.steps) * done.inputs.workload.layers


def timed(run: inputs.Inputs) -> tuple[float, Simulation]:
    """(µs of processor time by layer-step, the finished run)."""
    start = time.process_time()
    done = simulate(run, records=False)
    return (time.process_time() - start) * 1e6 / layer_steps(done), done


def main() -> None:
    start = time.process_time()
    simulate(inputs.load(config(CAPACITIES[0], "compiled")))
    first = time.process_time() - start
    table = Table(title="LRU, top-k prefetch of the recorded pre-attention prediction")
    for heading in (
        "cache",
        "hit rate",
        "events / layer-step",
        "SimPy, µs / layer-step",
        "over a timeout",
        "compiled, ns / layer-step",
        "faster",
    ):
        table.add_column(heading, justify="right")
    for capacity in CAPACITIES:
        m = measure(capacity)
        table.add_row(
            capacity,
            f"{m.hit_rate:.1%}",
            f"{m.events:.2f}",
            f"{m.simpy_us:.1f}",
            f"{m.timeouts:.1f} x",
            f"{m.compiled_us * 1e3:,.0f}",
            f"{m.simpy_us / m.compiled_us:.0f} x",
        )
    console = Console()
    console.print(table)
    console.print(f"first compiled run, compiling or reading the kept kernel: {first:.1f} s")


if __name__ == "__main__":
    main()
