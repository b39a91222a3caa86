"""What a figure is of: a column of the results in words, and its interval over the requests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from prefetch_sim.experiments.plots.words import is_share, measure_words
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
from prefetch_sim.sim.results.paired import ENOUGH, difference

__all__ = ["DECODE", "ENOUGH", "TPOT", "Measure", "measure"]

TPOT = "tpot_ms.mean"
DECODE = "decode_tokens_per_s"  # from TPOT, where the results lack it
_MAIN = (TPOT, DECODE, "tokens_per_s", "ttft_ms.mean", "hit_rate.all")
_LISTS = {  # of each request, and what to weigh it by
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
        """(low, high, requests of each row that has one): 95 % intervals over the requests.

        NaN in rows of fewer than ENOUGH requests, or whose measure is of whole runs alone.
        """
        low, high = (np.full(len(frame), np.nan) for _ in range(2))
        counts: list[int] = []
        lists, weights = _LISTS.get(self.name, (None, None))
        if lists is None or lists not in frame:
            return low, high, counts
        middle = self.of(frame).to_numpy()
        means = frame[TPOT].to_numpy(dtype=float)
        for row, cell in enumerate(frame[lists]):
            if not isinstance(cell, list | np.ndarray):
                continue
            weighed = [1.0] * len(cell) if weights is None else frame[weights].iloc[row]
            # The difference to nothing is the mean itself.
            found = difference(np.zeros(len(cell)), cell, weighed, weighed)
            if found.enough:
                ends = np.array([found.low, found.high])
                if self.name == DECODE:  # as many times faster as the time is shorter
                    ends = middle[row] * means[row] / ends[::-1]
                low[row], high[row] = ends
                counts.append(found.requests)
        return low, high, counts


def measure(frame: pd.DataFrame, name: str) -> Measure:
    """The measure that a user calls ``name``. Raises ConfigError with those that there are."""
    known = _measures(frame)
    for full in (name, f"{name}.mean", f"{name}.all"):
        if full in known:
            return Measure(full, measure_words(full))
    near = did_you_mean(name, known)
    main = [one for one in _MAIN if one in known]
    raise ConfigError(
        f"--y {name!r}: no measure of these results{near if near.startswith('; did') else ''}; "
        f"there are {', '.join(main)} and {len(known) - len(main)} more columns of results.csv"
    )


def _measures(frame: pd.DataFrame) -> list[str]:
    """Numbers of the results, not of the config nor of what was swept."""
    numbers = [str(name) for name in frame.select_dtypes("number").columns]
    apart = ("config.", "axis.", "recall", "cache.capacity", "predictor.")
    found = [name for name in numbers if not name.startswith(apart)]
    return list(dict.fromkeys([DECODE, *found]))
