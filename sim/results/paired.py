"""Pairs two runs request by request: how far apart they are, and whether requests bear that out.

A simulation has no noise, so on its own requests a difference is exact. The interval says where it
would lie for other requests like these. Requests are drawn again with replacement, each with both
of its results; the quantiles are those of Hesterberg's expanded percentile interval (What Teachers
Should Know About the Bootstrap, 2015), as the plain ones are too narrow for few requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

ENOUGH = 8  # requests: with fewer, an interval says little
CONFIDENCE = 0.95
RESAMPLES = 10_000
_LEAST, _DRAWS = 1_000, 20_000_000  # resamples of very many requests; requests drawn in all
_BLOCK = 250_000  # requests drawn at a time

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """The difference B - A of a weighted mean over requests, and its 95 % interval.

    ``share`` is the difference as a share of A's mean. ``autocorrelation`` is that of the requests'
    parts in the difference, each with the next request's. What cannot be worked out is nan: all
    but ``requests`` of no request, and the interval of one.
    """

    requests: int  # those that have a result in both runs
    difference: float
    low: float
    high: float
    share: float
    autocorrelation: float

    @property
    def enough(self) -> bool:
        """Whether there are requests enough to tell anything."""
        return self.requests >= ENOUGH

    @property
    def real(self) -> bool:
        """Whether other requests would show a difference of the same sign, as far as is known."""
        return self.enough and (self.low > 0 or self.high < 0)

    @property
    def chained(self) -> bool:
        """Whether neighbouring requests differ alike, so that the interval is too narrow."""
        return self.enough and self.autocorrelation > 1.645 / math.sqrt(self.requests)


def paired(a: Mapping[str, Any], b: Mapping[str, Any]) -> Paired:
    """The difference of the mean time per output token, ms: B - A, weighted by output tokens.

    ``a`` and ``b`` are ``by_request`` of two results (lists by request: ``tpot_ms``,
    ``output_tokens``). Raises ValueError where they are not of the same requests.
    """
    tokens, others = (_column(side["output_tokens"]) for side in (a, b))
    if len(tokens) != len(others):
        raise ValueError(f"{len(tokens)} requests and {len(others)} are no pairs")
    differ = np.flatnonzero(tokens != others)
    if len(differ):
        i = int(differ[0])
        raise ValueError(f"request {i} has {tokens[i]:g} output tokens in A and {others[i]:g} in B")
    return difference(a["tpot_ms"], b["tpot_ms"], tokens, tokens)


def difference(a: Any, b: Any, weights_a: Any, weights_b: Any) -> Paired:
    """The difference of two weighted means over the same requests: B - A.

    Each is a sequence by request; None or nan is no result, and weights of 0 count as none.
    """
    columns = np.stack([_column(side) for side in (a, weights_a, b, weights_b)])
    kept = np.isfinite(columns).all(axis=0) & (columns[1] > 0) & (columns[3] > 0)
    values_a, of_a, values_b, of_b = columns[:, kept]
    sums = np.stack([values_a * of_a, of_a, values_b * of_b, of_b])
    n = sums.shape[1]
    if not n:
        return Paired(0, *[math.nan] * 5)
    means = _means(sums.sum(axis=1))
    low, high = _interval(sums) if n > 1 else (math.nan, math.nan)
    found = float(means[1] - means[0])
    share = found / float(means[0]) if means[0] else math.nan
    return Paired(n, found, low, high, share, _autocorrelation(sums, means))


def _column(values: Any) -> Floats:
    return np.array(values, dtype=np.float64)  # None is nan


def _means(sums: Floats) -> Floats:
    """[2, ...] of A and B, from [4, ...]: sums of A, weights of A, sums of B, weights of B."""
    means: Floats = sums[::2] / sums[1::2]
    return means


def _interval(sums: Floats) -> tuple[float, float]:
    """The same for the same requests: the draws are always the same."""
    n = sums.shape[1]
    draw = np.random.default_rng(0).integers
    left = min(RESAMPLES, max(_LEAST, _DRAWS // n))
    found = []
    while left:
        block = min(left, max(1, _BLOCK // n))
        means = _means(sums[:, draw(n, size=(block, n))].sum(axis=2))
        found.append(means[1] - means[0])
        left -= block
    tail = (1 - CONFIDENCE) / 2
    outside = float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, tail)))
    low, high = np.quantile(np.concatenate(found), [outside, 1 - outside])
    return float(low), float(high)


def _autocorrelation(sums: Floats, means: Floats) -> float:
    """Of each request's part in the difference with the next one's, about their mean."""
    n = sums.shape[1]
    off = sums[::2] - means[:, None] * sums[1::2]
    parts = off[1] / sums[3].mean() - off[0] / sums[1].mean()
    whole = float(parts @ parts)
    scale = float(np.abs(means).max())
    if n < 3 or whole <= n * (1e-9 * scale) ** 2:  # all alike, but for rounding
        return math.nan
    return float(parts[:-1] @ parts[1:]) / whole
