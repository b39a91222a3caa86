"""The phone's own runs, simulated: the cache hits as often as the device's did.

The recordings hold the routing and, for each decode step, the hit rate that the engine on the
phone measured in the same run (cumulative, prefill included). What is kept of their first steps is
replayed everywhere (``phone_fixture``), the recordings where they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from phone_fixture import FOLDER, RECORDINGS, STEPS, derived, measured

from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.traces.format import read_trace, write_trace
from prefetch_sim.traces.importers import import_trace

# recording: cache, hit rate on the device (%), its decode steps
RUNS = {"qwen": ("4000MiB", 74.9, 128), "gptoss": ("3000MiB", 32.4, 64)}


def recording(name: str) -> Path:
    path = RECORDINGS / f"{name}.route.csv"
    if not path.exists():
        pytest.skip(f"no recording at {path}")
    return path


def replay(trace: Path, name: str, eviction: str = "lru") -> Simulation:
    config = RunConfig.model_validate(
        {
            "trace": str(trace),
            "hardware": "snapdragon-8",
            "cache": {"capacity": RUNS[name][0], "scope": "global", "eviction": eviction},
        }
    )
    return simulate(load(config))


def decode_hit_rates(done: Simulation) -> npt.NDArray[np.float64]:
    """In %, after each decode step."""
    layers, steps = done.layers, len(done.steps)
    step = layers.column("step")
    hits = np.cumsum(np.bincount(step, layers.column("hits"), steps))
    asked = np.cumsum(np.bincount(step, layers.column("experts"), steps))
    rates: npt.NDArray[np.float64] = (100 * hits / asked)[done.steps.column("prefill") == 0]
    return rates


@pytest.mark.parametrize("name", RUNS)
def test_hit_rate_after_each_of_the_first_steps(name: str) -> None:
    trace = FOLDER / f"{name}.parquet"
    said = np.array(read_trace(trace).meta.recorded["measured"].split(), dtype=float)
    assert len(said) == STEPS
    np.testing.assert_allclose(decode_hit_rates(replay(trace, name)), said, atol=0.1)
    other = decode_hit_rates(replay(trace, name, "fifo"))
    assert abs(other - said).max() > 1  # so it tells which eviction the phone has


@pytest.mark.parametrize("name", RUNS)
def test_what_is_kept_of_a_recording_is_made_from_it(name: str) -> None:
    made, kept = derived(recording(name)), read_trace(FOLDER / f"{name}.parquet")
    assert made.meta == kept.meta
    np.testing.assert_array_equal(made.experts, kept.experts)
    np.testing.assert_array_equal(made.phase, kept.phase)


@pytest.mark.parametrize("name", RUNS)
def test_hit_rate_of_the_whole_run(name: str, tmp_path: Path) -> None:
    trace = tmp_path / f"{name}.parquet"
    write_trace(trace, import_trace(recording(name)))
    done = replay(trace, name)
    _, whole, decode_steps = RUNS[name]
    assert 100 * results(done)["hit_rate"]["all"] == pytest.approx(whole, abs=0.1)
    rates = decode_hit_rates(done)
    assert len(rates) == decode_steps
    said = np.array(measured(recording(name)), dtype=float)
    np.testing.assert_allclose(rates, said, atol=0.1)
