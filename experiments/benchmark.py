"""Speed of the engine, as a ratio of things measured in one process.

``python -m experiments.benchmark``: µs per layer-step over µs per bare SimPy timeout, LRU with
top-k prefetch of the recorded pre-attention prediction on the sample trace, by cache size; and the
exact number of events, which no noise touches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import simpy
from rich.console import Console
from rich.table import Table

from sim import inputs
from sim.config import RunConfig
from sim.run import simulate

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


def config(capacity: str) -> RunConfig:
    return RunConfig.model_validate(
        {
            "trace": "mini-gpt-oss",
            "requests": "0:8",
            "model": "gpt-oss-20b",
            "hardware": "rtx-4090",
            "predictor": "pre-attention",
            "cache": {"capacity": capacity},
        }
    )


def measure(capacity: str) -> tuple[float, float, float, float]:
    """(ratio, µs a layer-step, events a layer-step, hit rate): medians of several rounds."""
    ratios, costs = [], []
    for _ in range(ROUNDS):
        run = inputs.load(config(capacity))
        before = bare_timeout_us()
        start = time.process_time()
        done = simulate(run)
        elapsed = (time.process_time() - start) * 1e6 / len(done.layers)
        costs.append(elapsed)
        ratios.append(elapsed / ((before + bare_timeout_us()) / 2))
    hits = done.layers.column("hits").sum() / done.layers.column("experts").sum()
    return median(ratios), median(costs), done.events / len(done.layers), float(hits)


def main() -> None:
    table = Table(title="LRU, top-k prefetch of the recorded pre-attention prediction")
    for heading in (
        "cache",
        "hit rate",
        "events / layer-step",
        "µs / layer-step",
        "over a timeout",
    ):
        table.add_column(heading, justify="right")
    for capacity in CAPACITIES:
        ratio, cost, events, hits = measure(capacity)
        table.add_row(capacity, f"{hits:.1%}", f"{events:.2f}", f"{cost:.1f}", f"{ratio:.1f} x")
    Console().print(table)


if __name__ == "__main__":
    main()
