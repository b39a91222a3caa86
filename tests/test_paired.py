"""The paired comparison of requests: what it estimates, how sure it is, when it says nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefetch_sim.experiments.comparing.coverage import POPULATIONS, coverage
from prefetch_sim.sim.results.paired import difference, paired


def by_request(tpot: Sequence[float | None], tokens: Sequence[int]) -> dict[str, Any]:
    return {"tpot_ms": tpot, "ttft_ms": [None] * len(tpot), "output_tokens": tokens}


def test_the_difference_is_that_of_means_by_token() -> None:
    a = by_request([10.0, 20.0], [30, 10])  # (300 + 200) / 40
    b = by_request([8.0, 30.0], [30, 10])  # (240 + 300) / 40
    found = paired(a, b)
    assert found.requests == 2
    assert found.difference == pytest.approx(13.5 - 12.5)
    assert found.share == pytest.approx(1 / 12.5)


def test_requests_without_output_are_no_pairs() -> None:
    a = by_request([10.0, None, 20.0], [5, 0, 5])
    found = paired(a, by_request([11.0, None, 21.0], [5, 0, 5]))
    assert found.requests == 2
    assert found.difference == pytest.approx(1)
    # as a Parquet file gives them back
    arrays = {name: np.array(values, dtype=float) for name, values in a.items()}
    assert paired(arrays, arrays).difference == 0


@pytest.mark.parametrize("requests", [0, 1])
def test_what_cannot_be_worked_out_is_nan(requests: int) -> None:
    found = paired(by_request([10.0] * requests, [3] * requests), by_request([9.0], [3])) if (
        requests
    ) else paired(by_request([None], [0]), by_request([None], [0]))  # fmt: skip
    assert found.requests == requests
    assert math.isnan(found.difference) == (not requests)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert not found.enough
    assert not found.real
    assert not found.chained


def test_other_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="2 requests and 1 are no pairs"):
        paired(by_request([1.0, 2.0], [3, 3]), by_request([1.0], [3]))
    with pytest.raises(ValueError, match="request 1 has 3 output tokens in A and 4 in B"):
        paired(by_request([1.0, 2.0], [3, 3]), by_request([1.0, 2.0], [3, 4]))


@pytest.mark.parametrize(("requests", "enough"), [(7, False), (8, True)])
def test_eight_requests_are_enough(requests: int, enough: bool) -> None:
    rng = np.random.default_rng(5)
    a = rng.normal(100, 20, requests)
    weights = np.ones(requests)
    found = difference(a, a - 10 + rng.normal(0, 1, requests), weights, weights)
    assert found.high < 0  # clear as it is
    assert (found.enough, found.real) == (enough, enough)


def test_pairing_tells_what_the_spread_of_requests_would_hide() -> None:
    rng = np.random.default_rng(6)
    a = rng.normal(100, 20, 12)
    b = a - 2 + rng.normal(0, 1, 12)
    weights = np.ones(12)
    assert difference(a, b, weights, weights).real
    assert not difference(a, rng.permutation(b), weights, weights).real


def test_noise_alone_is_not_real_and_equal_runs_differ_by_nothing() -> None:
    rng = np.random.default_rng(7)
    a = rng.normal(100, 20, 20)
    weights = rng.integers(1, 50, 20)
    assert not difference(a, a + rng.normal(0, 3, 20), weights, weights).real
    same = difference(a, a, weights, weights)
    assert astuple(same)[:5] == (20, 0, 0, 0, 0)
    assert not same.real
    assert not same.chained


def test_the_interval_is_the_same_each_time_and_turns_with_the_sides() -> None:
    rng = np.random.default_rng(8)
    a, b, weights = rng.normal(10, 1, 15), rng.normal(9, 1, 15), rng.integers(1, 9, 15)
    found, other = difference(a, b, weights, weights), difference(b, a, weights, weights)
    assert found == difference(a, b, weights, weights)
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))
    assert found.low < found.difference < found.high


def test_long_requests_count_by_their_tokens() -> None:
    """Seven short requests lose, one long one gains: it is what most tokens get."""
    found = paired(
        by_request([10.0] * 8, [1] * 7 + [1000]), by_request([11.0] * 7 + [9.0], [1] * 7 + [1000])
    )
    assert found.difference < -0.9
    assert not found.real  # of one request


def test_neighbours_that_differ_alike_are_told() -> None:
    a = np.full(24, 100.0)
    weights = np.ones(24)
    drift = difference(a, a + np.linspace(-3, 5, 24), weights, weights)
    assert drift.chained
    assert drift.autocorrelation > 0.7
    turns = difference(a, a + np.tile([-3.0, 5.0], 12), weights, weights)
    assert turns.autocorrelation < -0.9
    assert not turns.chained


def test_very_many_requests_take_little_memory() -> None:
    rng = np.random.default_rng(9)
    a = rng.normal(100, 5, 30_000)
    found = difference(a, a + rng.normal(1, 5, 30_000), np.ones(30_000), np.ones(30_000))
    assert found.high - found.low == pytest.approx(2 * 1.96 * 5 / 30_000**0.5, rel=0.2)


@pytest.mark.parametrize(("name", "requests"), [("even", 8), ("uneven", 12), ("chained", 12)])
def test_the_interval_holds_the_truth_about_as_often_as_the_page_says(
    name: str, requests: int
) -> None:
    shown = page_says(name, requests)
    assert coverage(POPULATIONS[name], requests, 300) == pytest.approx(shown, abs=0.04)


def page_says(name: str, requests: int) -> float:
    """The cell of the page's table, as a share."""
    text = (Path(__file__).parents[1] / "docs/compare.md").read_text(encoding="utf-8")
    head, _, *rows = text.partition("| requests | ")[2].split("\n\n")[0].splitlines()
    column = [cell.strip() for cell in head.strip("| ").split("|")].index(name)
    for row in rows:
        cells = [cell.strip() for cell in row.strip("| ").split("|")]
        if cells[0] == str(requests):
            return float(cells[column + 1].removesuffix(" %")) / 100
    raise AssertionError(f"no row of {requests} requests")
