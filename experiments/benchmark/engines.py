"""The two engines: SimPy's over bare timeouts, the compiled one's over SimPy's."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import simpy

from prefetch_sim.experiments.benchmark.measure import (
    ROUNDS,
    hit_rate,
    layer_steps,
    load,
    run,
    table,
    timed,
)

CAPACITIES = ("25%", "50%", "75%")
PART = "0:16"  # requests: SimPy takes its time
TIMEOUTS = 200_000


def bare_timeout_us() -> float:
    """One process yielding timeouts: what SimPy itself costs per event."""

    def ticks(env: simpy.Environment) -> Iterator[simpy.Event]:
        for _ in range(TIMEOUTS):
            yield env.timeout(1)

    env = simpy.Environment()
    env.process(ticks(env))
    return timed(env.run)[0] / TIMEOUTS * 1e6


def measure(capacity: str) -> list[str]:
    """A row: medians of several rounds, each of which measures all by turns."""
    simpys, timeouts, compileds, faster = [], [], [], []
    for _ in range(ROUNDS):
        keys = {"predictor": "pre-attention"}
        part = load(capacity, "simpy", requests=PART, **keys)
        before = bare_timeout_us()
        seconds, done = run(part)
        simpys.append(seconds * 1e6 / layer_steps(done))
        timeouts.append(simpys[-1] / ((before + bare_timeout_us()) / 2))
        seconds, whole = run(load(capacity, **keys))
        compileds.append(seconds * 1e6 / layer_steps(whole))
        faster.append(simpys[-1] / compileds[-1])
    return [
        capacity,
        f"{hit_rate(done):.1%}",
        f"{done.events / layer_steps(done):.2f}",
        f"{median(simpys):.1f} µs",
        f"{median(timeouts):.1f} x",
        f"{median(compileds) * 1e3:,.0f} ns",
        f"{median(faster):.0f} x",
    ]


def report() -> str:
    run(load(CAPACITIES[0], predictor="pre-attention"))  # predictions are read, kernels loaded
    headings = (
        "cache", "hit rate", "events / layer-step", "SimPy / layer-step", "over a timeout",
        "compiled / layer-step", "faster",
    )  # fmt: skip
    return table(headings, [measure(capacity) for capacity in CAPACITIES])
