"""The compiled engine's time by size: exponents of straight lines on log axes.

Routing is uniform, so that the hit rate is the cache's share whatever the size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from prefetch_sim.experiments.benchmark.measure import ROUNDS, layer_steps, load, run, table
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.traces.format import write_trace
from prefetch_sim.traces.synthetic import synthesise

ROOMY = {"name": "h100-sxm", "compute": {"memory_gib": 4000}, "host": {"memory_gib": 4000}}
BASE = {"tokens": 2000, "experts": 32, "top_k": 4, "batch": 1, "cache": 50}
AXES = {
    "tokens": (1000, 2000, 4000, 8000, 16000),
    "experts": (16, 32, 64, 128, 256, 512),
    "top_k": (1, 2, 4, 8, 16),
    "batch": (1, 2, 4, 8, 16),
    "cache": (25, 50, 75, 100),
}


def seconds(folder: Path, size: dict[str, int]) -> tuple[float, int]:
    """(s of processor time, layer-steps)."""
    gpt = load_model("gpt-oss-20b")
    model = gpt.model_copy(update={"experts": size["experts"], "top_k": size["top_k"]})
    path = folder / "trace.parquet"
    requests = 16  # as many as the largest batch
    trace = synthesise(
        model, requests=requests, prompt=0, decode=size["tokens"] // requests, skew=0.0, reuse=0.0,
        seed=1,
    )  # fmt: skip
    write_trace(path, trace)
    inputs = load(
        f"{size['cache']}%",
        trace=str(path),
        model=None,
        hardware=ROOMY,
        predictor="previous-token",
        batch_size=size["batch"],
    )
    _, done = run(inputs)
    return median(run(inputs)[0] for _ in range(ROUNDS)), layer_steps(done)


def exponent(sizes: Sequence[int], times: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def report() -> str:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for axis, sizes in AXES.items():
            found = [seconds(Path(folder), BASE | {axis: size}) for size in sizes]
            times = [s if axis == "tokens" else s / steps for s, steps in found]
            shown = [f"{t:.2f} s" if axis == "tokens" else f"{t * 1e9:,.0f} ns" for t in times]
            by_size = ", ".join(f"{size}: {text}" for size, text in zip(sizes, shown))
            what = "run" if axis == "tokens" else "layer-step"
            rows.append([axis, what, by_size, f"{exponent(sizes, times):.2f}"])
    return table(("axis", "time of a", "by size", "exponent"), rows)
