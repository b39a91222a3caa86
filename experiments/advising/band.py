"""How far an answer may be off: what its figures leave open, and what the field check found.

A figure that is off by its stated uncertainty u makes a token take (1 + u) ** e of its time, e
being its elasticity. Figures are off independently, so their parts add as squares. With them is
added what the simulator itself was off by in the field check: nine in ten of its predicted rows,
judged by tokens a second, were measured within so much of what was simulated. Rows may be left out
of that; how sure hits are (``_MISSES``) was set with all of them known, and stays as it is. Models
that are whole on a GPU have rows of their own, most of them slower than was simulated, so each of
the two goes by its own rows alone.

A CPU that nobody named is in doubt itself: it may be one of another generation.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from math import ceil, hypot
from pathlib import Path
from statistics import median
from typing import NamedTuple

from prefetch_sim.experiments.advising.points import MISSES, Point
from prefetch_sim.experiments.text import count
from prefetch_sim.hardware_profiles import Figure

FIELD = Path(__file__).resolve().parents[1] / "results" / "field_check" / "rows.csv"
MOST = 0.35  # half-width: what is less certain is shown as this, or as its rows show, and said
WHOLE = "whole-"  # begins the names of rows whose experts are all on a GPU
_WITHIN = 0.9
# What engines published is 0.8 to 1.2 times the misses of ``placements.hits``, once 1.6 times
# (docs/field-check.md: slotstream, imp, FreeToken, BigMoeOnEdge).
_MISSES = 0.3
# Two channels of DDR5-5600 read 1.75 times what two of DDR4-3200 do (89.6 and 51.2 GB/s).
_ANOTHER_CPU = 0.75
_CPU_RATE = "hardware.cpu.expert_gb_s"


class Band(NamedTuple):
    """Half-widths, as shares of the answer."""

    half: float
    figures: float
    field: float
    parts: dict[str, float]  # of ``figures``, by figure, the largest first

    @property
    def uncut(self) -> float:
        """What is known makes it as wide as this."""
        return hypot(self.figures, self.field)


class Deviations(NamedTuple):
    """How far simulated is from measured, as shares of measured; too fast is above 0."""

    runs: int
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        runs = count(self.runs, "run")
        least, middle, most = map(_too, (self.low, self.median, self.high))
        return f"{runs} with all experts on the GPU: {least} to {most}, {middle} in the median"


def _too(off: float) -> str:
    return f"{round(100 * abs(off))} % too {'fast' if off > 0 else 'slow'}"


def band(
    point: Point,
    elasticities: Mapping[str, float],
    without: Collection[str] = (),
    *,
    cpu_assumed: bool = False,
    whole: bool = False,
) -> Band:
    """The band of ``point``. ``without``: rows of the field check that ``field`` leaves out.

    ``whole``: whether all its experts are on a GPU.
    """
    doubts = {path: figure.uncertainty for path, figure in figures(point).items()}
    doubts[MISSES] = _MISSES
    if cpu_assumed:
        rates = {path: u for path, u in doubts.items() if path.startswith(_CPU_RATE)}
        doubts |= {path: hypot(u, _ANOTHER_CPU) for path, u in rates.items()}
    parts = {path: (1 + doubts[path]) ** e - 1 for path, e in elasticities.items()}
    parts = dict(sorted(parts.items(), key=lambda item: -item[1]))
    known, field = hypot(*parts.values()), field_deviation(without, whole=whole)
    return Band(min(max(MOST, field), hypot(known, field)), known, field, parts)


def figures(point: Point) -> dict[str, Figure]:
    """What ``point`` ran with, by ``hardware.PATH`` and ``runtime.PATH``."""
    sides = {"hardware": point.inputs.profile, "runtime": point.inputs.runtime}
    return {
        f"{side}.{path}": figure
        for side, profile in sides.items()
        for path, figure in profile.flat().items()
    }


def field_deviation(without: Collection[str] = (), *, whole: bool = False) -> float:
    """Within how much of what was simulated nine in ten of the predicted rows were measured."""
    off = sorted(abs(measured / simulated - 1) for measured, simulated in _rows(without, whole))
    return off[ceil(_WITHIN * len(off)) - 1]


def whole_deviations(without: Collection[str] = ()) -> Deviations:
    """What the rows say whose experts are all on a GPU."""
    off = [simulated / measured - 1 for measured, simulated in _rows(without, whole=True)]
    return Deviations(len(off), median(off), min(off), max(off))


def _rows(without: Collection[str], whole: bool) -> list[tuple[float, float]]:
    """Measured and simulated tokens/s of the predicted rows."""
    with FIELD.open(encoding="utf-8", newline="") as file:
        return [
            (float(row["published"]), float(row["simulated"]))
            for row in csv.DictReader(file)
            if row["role"] == "predicted"
            and row["quantity"] == "tokens_s"
            and float(row["judged"])
            and row["simulated"]
            and row["row"] not in without
            and row["row"].startswith(WHOLE) == whole
        ]
