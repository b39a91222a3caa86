"""The devices' own times by step, where their recordings are at hand; they are not ours to keep."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from prefetch_sim.experiments.field_check.rows import Row, Study
from prefetch_sim.experiments.field_check.simulate import Steps, by_step, run
from prefetch_sim.traces.format import write_trace
from prefetch_sim.traces.importers import import_trace

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "big-moe-on-edge" / "runs"
MIB = 2**20


class Compared(NamedTuple):
    """A run against its device, by step."""

    row: str
    role: str
    steps: int
    measured_ms: float
    simulated_ms: float
    correlation: float
    measured_wait_ms: float
    simulated_wait_ms: float
    wait_correlation: float
    measured_rest_ms: float
    simulated_rest_ms: float
    rest_correlation: float
    bytes_correlation: float  # of the device's time with its own bytes: what bytes alone explain


class Traced(NamedTuple):
    """A run whose routing the phone recorded too: means over its decode steps."""

    recording: str
    hardware: str
    runtime: str
    measured_tokens_s: float
    simulated_tokens_s: float
    measured_wait_ms: float
    simulated_wait_ms: float
    measured_rest_ms: float
    simulated_rest_ms: float


# recording: its cache. As the engine ran: overlapped.
TRACED = {"qwen": "4000MiB", "gptoss": "3000MiB"}


def traced(folder: Path) -> list[Traced]:
    """The recordings in ``folder``, by what the phone is and with its engine's work."""
    found = []
    for name, capacity in TRACED.items():
        device = measured(folder, name, "metrics")
        for runtime in ("ideal", "big-moe-on-edge"):
            tree = {
                "trace": "",
                "hardware": "oneplus-15r",
                "runtime": {"name": runtime, "overlap": "per_expert"},
                "cache": {"capacity": capacity},
            }
            with TemporaryDirectory() as made:
                file = Path(made) / "trace.parquet"
                write_trace(file, import_trace(folder / f"{name}.route.csv"))
                ours = by_step(run({**tree, "trace": str(file)}, name))
            numbers = [
                round(float(x), 2)
                for means in zip(_means(device), _means(ours), strict=True)
                for x in means
            ]
            found.append(Traced(name, "oneplus-15r", runtime, *numbers))
    return found


def _means(steps: Steps) -> tuple[float, float, float]:
    wall, wait = steps.wall_ms.mean(), steps.wait_ms.mean()
    return 1e3 / wall, wait, wall - wait


def measured(folder: Path, name: str, suffix: str = "csv") -> Steps:
    """What a device wrote down: what it waited for is its reads, or, overlapped, its stall."""
    with (folder / f"{name}.{suffix}").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))

    def column(key: str) -> npt.NDArray[np.float64]:
        return np.array([float(row[key]) for row in rows])

    stall = column("stall_ms")
    wait = stall if stall.any() else column("io_ms")
    return Steps(column("wall_ms"), wait, column("read_bytes") / MIB)


def compare(study: Study, rows: Sequence[Row], folder: Path) -> list[Compared]:
    return [_compared(study, row, folder) for row in rows]


def _compared(study: Study, row: Row, folder: Path) -> Compared:
    device = measured(folder, row.recording)
    ours = by_step(run(study.tree(row), row.id))
    pairs = [
        (device.wall_ms, ours.wall_ms),
        (device.wait_ms, ours.wait_ms),
        (device.wall_ms - device.wait_ms, ours.wall_ms - ours.wait_ms),
    ]
    cells = [
        round(float(x), 3)
        for a, b in pairs
        for x in (a.mean(), b.mean(), np.corrcoef(a, b)[0, 1] if b.std() > 0 else np.nan)
    ]
    alone = np.corrcoef(device.wall_ms, device.mib)[0, 1] if device.mib.std() > 1 else np.nan
    cells.append(round(float(alone), 3))
    return Compared(row.id, row.role, len(device.wall_ms), *cells)
