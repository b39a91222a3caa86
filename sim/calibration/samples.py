"""Repeated measurements of one thing, the lines through them, and the figures they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from prefetch_sim.hardware_profiles.schema import Figure

_DIGITS = 4  # of a figure
_LEAST_UNCERTAINTY = 0.005  # whatever the spread: a clock and a machine are not better than that
_OF_ONE = 0.1  # uncertainty of a value that comes without spread
_NO_RATE = 1e-15  # µs a byte of what takes no time by size: a rate has to be finite


class Samples(NamedTuple):
    """How many there were, and their 10th, 50th and 90th percentile."""

    n: int
    p10: float
    median: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Samples:
        low, middle, high = np.percentile(np.asarray(values, float), (10, 50, 90)).tolist()
        return cls(len(values), low, middle, high)

    @classmethod
    def pooled(cls, several: Iterable[Samples]) -> Samples:
        """What was measured under several circumstances: their middle, and their widest spread."""
        all_ = list(several)
        return cls(
            sum(one.n for one in all_),
            min(one.p10 for one in all_),
            float(np.median([one.median for one in all_])),
            max(one.p90 for one in all_),
        )

    @property
    def quantiles(self) -> tuple[float, float, float]:
        return self.p10, self.median, self.p90

    def through(self, change: Callable[[float], float]) -> Samples:
        """Each as ``change`` has it, which grows or falls throughout."""
        ends = change(self.p10), change(self.p90)
        return Samples(self.n, min(ends), change(self.median), max(ends))

    @property
    def spread(self) -> float:
        """Half of what lies between the percentiles, as a share of the median."""
        if self.median == 0:
            return 1.0 if self.p90 > 0 else 0.0
        return (self.p90 - self.p10) / 2 / self.median


Table = Mapping[int, Samples]  # by size in bytes: µs


class Line(NamedTuple):
    """µs of anything by its bytes: a fixed part, and a rate."""

    fixed_us: Samples
    gb_s: Samples


def line(table: Table) -> Line:
    """The line nearest to ``table``, each size weighing by its relative error; neither part < 0."""
    fits = []
    for sizes, times in _by_quantile(table):
        (fixed, each), _ = nnls(np.stack([1 / times, sizes / times], axis=1), np.ones(len(times)))
        fits.append((float(fixed), float(1e-3 / max(each, _NO_RATE))))
    n = min(samples.n for samples in table.values())
    return Line(_of_fits(n, [fit[0] for fit in fits]), _of_fits(n, [fit[1] for fit in fits]))


def fixed(table: Table, gb_s: float) -> Samples:
    """µs that each size takes beyond its bytes at ``gb_s``, weighed as in `line`; not below 0."""
    found = []
    for sizes, times in _by_quantile(table):
        weights = times**-2.0
        beyond = times - sizes / (gb_s * 1e3)
        found.append(max(0.0, float(np.sum(weights * beyond) / np.sum(weights))))
    return _of_fits(min(samples.n for samples in table.values()), found)


def _by_quantile(table: Table) -> list[tuple[np.ndarray, np.ndarray]]:
    sizes = np.array(list(table), float)
    columns = zip(*(samples.quantiles for samples in table.values()))
    return [(sizes, np.array(column, float)) for column in columns]


def _of_fits(n: int, found: Sequence[float]) -> Samples:
    """The fit of the medians, between those of the other quantiles."""
    return Samples(n, min(found), found[1], max(found))


@dataclass(frozen=True)
class Stamp:
    """When and on what machine measurements were taken, and by what, if not by ourselves."""

    date: str
    machine: str
    by: str = ""

    def figure(self, samples: Samples, note: str = "", least: float = 0.0) -> Figure:
        """A measured figure; ``note`` says what was measured.

        Its uncertainty is the spread, or ``least``, where more is unsure than repeats can show.
        """
        low, high = _short(samples.p10), _short(samples.p90)
        spread = (
            "one value, no spread given"
            if samples.n == 1
            else f"median of {samples.n:,}, 10th to 90th percentile {low:g}–{high:g}"
        )
        by = f" by {self.by}" if self.by else ""
        source = (
            f"measured {self.date} on {self.machine}{by}: {f'{note}; ' if note else ''}{spread}"
        )
        uncertainty = max(_LEAST_UNCERTAINTY, samples.spread, least)
        if samples.n == 1:
            uncertainty = max(_OF_ONE, least)
        return Figure(
            value=_short(samples.median),
            kind="measured",
            source=source,
            uncertainty=min(1.0, float(f"{uncertainty:.2g}")),
        )

    def exact(self, value: float, note: str) -> Figure:
        """What the machine says of itself, and what was chosen by measuring."""
        return Figure(
            value=float(f"{value:.10g}"),
            kind="measured",
            source=f"measured {self.date} on {self.machine}: {note}",
            uncertainty=0.0,
        )


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


class Note(NamedTuple):
    """Something measured for which a profile has no place."""

    what: str
    samples: Samples
    unit: str


@dataclass
class Findings:
    """Figures by dotted path, of a hardware profile and of a runtime's, and what is beside them.

    ``over_link``: of hardware where experts come over a link, or are copied as if they did.
    """

    hardware: dict[str, Figure] = field(default_factory=dict)
    over_link: dict[str, Figure] = field(default_factory=dict)
    runtime: dict[str, Figure] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        self.hardware |= other.hardware
        self.over_link |= other.over_link
        self.runtime |= other.runtime
        self.notes += other.notes
