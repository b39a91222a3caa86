"""The measured runs nearest to a question, of those that advise was tried on."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from prefetch_sim.experiments.advising.band import WHOLE
from prefetch_sim.hardware_profiles import load_profile

CHECKED = Path(__file__).resolve().parents[1] / "results" / "advising" / "rows.csv"
_WEIGHTS = (2, 2, 1)  # of the same engine, model and machine
_NEAR = 3
_SHOWN = 2


@dataclass(frozen=True)
class Measured:
    """A row of the field check: what was measured, and what advise says of it."""

    row: str
    what: str
    measured: float
    expected: float
    source: str


def rows(
    runtime: str,
    model: str,
    machine: str,
    *,
    whole: bool,
    on_cpu: bool = False,
    without: Collection[str] = (),
) -> tuple[Measured, ...]:
    """At most two, the nearest first; none where nothing is near, or the check was not run.

    ``whole``: of runs with every expert on a GPU; else of the others. ``on_cpu``: of machines that
    have no GPU; else of those that have.
    """
    if not CHECKED.is_file():
        return ()
    with CHECKED.open(encoding="utf-8", newline="") as file:
        found = [
            row
            for row in csv.DictReader(file)
            if row["row"] not in without and row["row"].startswith(WHOLE) == whole
        ]

    def nearness(row: dict[str, str]) -> int:
        same = (row["runtime"] == runtime, row["model"] == model, row["machine"] == machine)
        return sum(weight for weight, one in zip(_WEIGHTS, same) if one)

    near = sorted(
        (
            row
            for row in found
            if nearness(row) >= _NEAR and (load_profile(row["machine"]).chip == "cpu") == on_cpu
        ),
        key=nearness,
        reverse=True,
    )
    return tuple(
        Measured(
            row["row"], row["what"], float(row["measured"]), float(row["expected"]), row["source"]
        )
        for row in near[:_SHOWN]
    )
