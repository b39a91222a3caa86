"""The phone's own runs, simulated: the cache hits as often as the device's did.

The recordings hold the routing and, for each decode step, the hit rate that the engine on the
phone measured in the same run (cumulative, prefill included).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.config import RunConfig
from sim.inputs import load
from sim.run import Simulation, results, simulate
from traces.format import write_trace
from traces.importers import import_trace

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "big-moe-on-edge"
# recording: cache, hit rate on the device (%), its decode steps
RUNS = {"qwen": ("4000MiB", 74.9, 128), "gptoss": ("3000MiB", 32.4, 64)}


@pytest.fixture(scope="module", params=RUNS)
def replayed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Simulation, dict[str, Any]]:
    name: str = request.param
    recording = DATA / f"{name}.route.csv"
    if not recording.exists():
        pytest.skip(f"no recording at {recording}")
    trace = tmp_path_factory.mktemp("phone") / f"{name}.parquet"
    write_trace(trace, import_trace(recording))
    config = RunConfig.model_validate(
        {
            "trace": str(trace),
            "hardware": "snapdragon-8",
            "cache": {"capacity": RUNS[name][0], "scope": "global", "eviction": "lru"},
        }
    )
    done = simulate(load(config))
    return name, done, results(done)


def test_hit_rate_of_the_run(replayed: tuple[str, Simulation, dict[str, Any]]) -> None:
    name, done, result = replayed
    _, measured, decode_steps = RUNS[name]
    assert 100 * result["hit_rate"]["all"] == pytest.approx(measured, abs=0.1)
    assert int((done.steps.column("prefill") == 0).sum()) == decode_steps


def test_hit_rate_after_each_decode_step(replayed: tuple[str, Simulation, dict[str, Any]]) -> None:
    name, done, _ = replayed
    with (DATA / f"{name}.metrics").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    measured = np.array([float(row["cache_hit_pct"]) for row in rows])
    layers = done.layers
    steps = len(done.steps)
    step = layers.column("step")
    hits = np.cumsum(np.bincount(step, layers.column("hits"), steps))
    asked = np.cumsum(np.bincount(step, layers.column("experts"), steps))
    simulated = (100 * hits / asked)[done.steps.column("prefill") == 0]
    assert len(measured) == len(simulated)
    np.testing.assert_allclose(simulated, measured, atol=0.1)
