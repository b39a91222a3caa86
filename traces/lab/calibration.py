"""Scores made into probabilities, and how far from the truth those are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from prefetch_sim.traces.trace import Array

BINS = 15
CALIBRATION_ROWS = 2048  # enough for two numbers a layer, and to see how far they are off
LEAST_SLOPE = 1e-6


def fit_platt(scores: Array, routed: Array) -> tuple[float, float]:
    """``(a, b)`` that make ``sigmoid(a · score + b)`` likeliest (Platt 1999).

    scores float [N, E], any monotone measure; routed bool [N, E].
    """
    flat = scores.astype(np.float64).ravel()
    truth = routed.ravel()
    scale, middle = float(flat.std()) or 1.0, float(flat.mean())
    flat = flat - middle

    def loss(at: Array) -> tuple[float, Array]:
        logit = at[0] * flat / scale + at[1]
        wrong = expit(logit) - truth
        value = np.logaddexp(0, logit).sum() - logit[truth].sum()
        return float(value / len(flat)), np.array([wrong @ flat / scale, wrong.sum()]) / len(flat)

    share = float(np.clip(truth.mean(), 1e-6, 1 - 1e-6))
    start = np.array([1.0, np.log(share / (1 - share))])
    # A slope may flatten a score, never turn it round.
    bounds = ((LEAST_SLOPE, None), (None, None))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    slope = float(found.x[0] / scale)
    return slope, float(found.x[1]) - slope * middle


def named_error(probability: Array, routed: Array, named: int) -> float:
    """The calibration error of the ``named`` likeliest experts of each token, both [N, E]."""
    best = np.argpartition(-probability, named - 1, axis=1)[:, :named]
    said, true = (np.take_along_axis(values, best, axis=1) for values in (probability, routed))
    return calibration_error(said.ravel(), true.ravel())


def slot_hits(probability: Array, routed: Array, top_k: int) -> tuple[int, int]:
    """Routed experts among the ``top_k`` likeliest of each token, and all routed; both [N, E]."""
    best = np.argpartition(-probability, top_k - 1, axis=1)[:, :top_k]
    return int(np.take_along_axis(routed, best, axis=1).sum()), int(routed.sum())


def share(hits: Sequence[tuple[int, int]]) -> float | None:
    """What ``slot_hits`` of several layers come to; None where nothing was routed."""
    named, routed = (sum(column) for column in zip(*hits)) if hits else (0, 0)
    return round(named / routed, 6) if routed else None


def some(rows: Array, seed: int = 0) -> Array:
    """At most CALIBRATION_ROWS of the rows of a mask, as a mask."""
    at = np.flatnonzero(rows)
    if len(at) > CALIBRATION_ROWS:
        at = np.random.default_rng(seed).choice(at, CALIBRATION_ROWS, replace=False)
    chosen = np.zeros(len(rows), bool)
    chosen[at] = True
    return chosen


def calibration_error(probability: Array, routed: Array) -> float:
    """Expected calibration error: |mean probability - share routed| over 15 equal bins, weighted.

    Both flat, of the same length (Naeini et al. 2015).
    """
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    said = np.bincount(bins, probability, minlength=BINS)
    true = np.bincount(bins, routed, minlength=BINS)
    return float(np.abs(said - true).sum() / max(1, len(probability)))
