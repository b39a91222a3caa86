"""What a figure is of: a column of the results in words, and its interval over the requests."""

from __future__ import annotations


from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from prefetch_sim.experiments.plots.words import is_share, measure_words
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean

TPOT = "tpot_ms.mean"
DECODE = "decode_tokens_per_s"  # 1000 over TPOT, as decoding alone gives it
ENOUGH = 8  # requests, below which an interval would say more than they know
RESAMPLES = 2000
_LISTS = {  # of each request: what to weigh it by
    TPOT: ("by_request.tpot_ms", "by_request.output_tokens"),
    DECODE: ("by_request.tpot_ms", "by_request.output_tokens"),
    "ttft_ms.mean": ("by_request.ttft_ms", None),
}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A number of each point, in the unit that ``words`` name."""

    name: str
    words: str

    def of(self, frame: pd.DataFrame) -> pd.Series[float]:
        """Its value in each row; NaN where there is none."""
        if self.name == DECODE and DECODE not in frame:
            return 1000 / frame[TPOT].astype(float)
        values = frame[self.name].astype(float)
        return 100 * values if is_share(self.name) else values

    def interval(self, frame: pd.DataFrame) -> tuple[Floats, Floats, list[int]]:
        """(low, high, requests): the 95 % interval of each row over its requests.

        NaN in rows of fewer than ENOUGH requests, or whose measure is of whole runs alone.
        """
        low, high = (np.full(len(frame), np.nan) for _ in range(2))
        counts: list[int] = []
        values, weights = _LISTS.get(self.name, (None, None))
        if values is None or values not in frame:
            return low, high, counts
        turn = self.name == DECODE
        for row, (cell, weight) in enumerate(zip(frame[values], frame[weights or values])):
            each, weighed = _known(cell, weight if weights else None)
            if len(each) >= ENOUGH:
                found = _bootstrap(each, weighed)
                low[row], high[row] = 1000 / found[::-1] if turn else found
                counts.append(len(each))
        return low, high, counts


def _known(cell: Any, weight: Any) -> tuple[Floats, Floats]:
    """The values of requests that have one, and their weights."""
    if not isinstance(cell, list | np.ndarray):
        return np.empty(0), np.empty(0)
    each = np.array([np.nan if v is None else v for v in cell], dtype=float)
    weighed = np.ones(len(each)) if weight is None else np.array(weight, dtype=float)
    there = ~np.isnan(each) & (weighed > 0)
    return each[there], weighed[there]


def _bootstrap(values: Floats, weights: Floats) -> Floats:
    """(2.5 %, 97.5 %) of the weighted mean over resampled requests.

    The same samples for every point with as many requests: what varies is the points.
    """
    drawn = _samples(len(values))
    means = (drawn @ (values * weights)) / (drawn @ weights)
    return np.quantile(means, [0.025, 0.975])


def _samples(requests: int) -> Floats:
    """How often each request is in each resample: float [RESAMPLES, requests]."""
    generator = np.random.default_rng(0)
    share = np.full(requests, 1 / requests)
    return generator.multinomial(requests, share, size=RESAMPLES).astype(float)


def measure(frame: pd.DataFrame, name: str) -> Measure:
    """The measure that a user calls ``name``. Raises ConfigError with those that there are."""
    known = _measures(frame)
    for full in (name, f"{name}.mean", f"{name}.all"):
        if full in known:
            return Measure(full, measure_words(full))
    near = did_you_mean(name, known)
    main = [one for one in (TPOT, DECODE, "tokens_per_s", "ttft_ms.mean", "hit_rate.all")]
    near = near if near.startswith("; did") else ""
    raise ConfigError(
        f"--y {name!r}: no measure of these results{near}; there are {', '.join(main)} "
        f"and {len(known) - len(main)} more, columns of results.csv"
    )


def _measures(frame: pd.DataFrame) -> list[str]:
    numbers = frame.select_dtypes("number").columns
    return [DECODE, *(name for name in map(str, numbers) if not name.startswith("config."))]


