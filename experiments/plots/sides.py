"""On which side of no prefetch the cells of a heat map are, in words that name the exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from prefetch_sim.experiments.conclusions.figures import NOTICED
from prefetch_sim.experiments.plots.frame import Cut
from prefetch_sim.experiments.plots.words import value_words, words_in_a_sentence

HIGHER, EQUAL, LOWER = 1, 0, -1
_ALIKE = 1e-6  # of a measure: what is nearer is the same figure, rounded otherwise
_NAMED = 8  # groups of cells that words name; of more they say how many cells
_BESIDE = 3  # the same beside a line
_WORDS = {HIGHER: "higher than", EQUAL: "as high as", LOWER: "lower than"}
_TIMES = "tpot_ms.", "ttft_ms.", "total_ms"
_SPEEDS = "decode_tokens_per_s", "tokens_per_s"

Floats = npt.NDArray[np.float64]
Sides = npt.NDArray[np.float64]  # of each cell; NaN where there is nothing to compare


def sides(ratio: Floats, measure: str) -> Sides:
    """The side of each cell, of its measure over that without prefetch.

    Of times, and of what is made of them, a difference counts from where a conclusion counts it.
    """
    alike = NOTICED if measure.startswith((*_TIMES, *_SPEEDS)) else _ALIKE
    found = np.sign(np.where(np.abs(ratio - 1) < alike, 0.0, ratio - 1))
    return np.asarray(found, dtype=np.float64)


def single(of: Sides) -> bool:
    """Whether one cell alone is higher, or lower: a line round it is a speck."""
    return any((of == side).sum() == 1 for side in (HIGHER, LOWER))


def words(of: Sides, measure: str, axes: Sequence[str], cut: Cut) -> str:
    """``faster than without prefetch, but as fast at recall 0.5``.

    ``axes``: along x and up the side, with values as ``cut`` has them.
    """
    counts = {side: int((of == side).sum()) for side in (LOWER, HIGHER, EQUAL)}
    most = max(counts, key=lambda side: counts[side])
    named = _words(measure)
    said = f"{named[most]} without prefetch"
    others = [side for side, cells in counts.items() if cells and side != most]
    partly = "" if not np.isnan(of).any() else " where that was run"
    if not others:
        return f"{said} {partly.strip() or 'throughout'}"
    but = [f"{_short(named[side])} {_where(of == side, axes, cut, _NAMED)}" for side in others]
    return f"{said}{partly}, but {', '.join(but)}"


def equal(of: Sides, measure: str, axes: Sequence[str], cut: Cut) -> str:
    """``as fast as without prefetch at recall 0.5``; "" where no cell is."""
    if not (of == EQUAL).any():
        return ""
    where = _where(of == EQUAL, axes, cut, _BESIDE)
    return f"{_words(measure)[EQUAL]} without prefetch {where}"


def _words(measure: str) -> dict[int, str]:
    if measure.startswith((*_TIMES, *_SPEEDS)):
        slow, fast = (HIGHER, LOWER) if measure.startswith(_TIMES) else (LOWER, HIGHER)
        return {slow: "slower than", EQUAL: "as fast as", fast: "faster than"}
    return _WORDS


def _short(side: str) -> str:
    return side.removesuffix(" than").removesuffix(" as")


def _where(cells: npt.NDArray[np.bool_], axes: Sequence[str], cut: Cut, most: int) -> str:
    """Which cells, by rows or by columns: what takes fewer words."""
    by_row, by_column = _groups(cells), [(x, up) for up, x in _groups(cells.T)]
    groups = min(by_row, by_column, key=len)
    if len(groups) > most:
        return f"in {cells.sum()} of {cells.size} cells"
    return "at " + " and at ".join(_group(group, cells.shape, axes, cut) for group in groups)


def _groups(cells: npt.NDArray[np.bool_]) -> list[tuple[list[int], list[int]]]:
    """(places along x, rows that have them) of rows with the same cells."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row, inside in enumerate(cells):
        if inside.any():
            found.setdefault(tuple(np.flatnonzero(inside).tolist()), []).append(row)
    return [(list(places), rows) for places, rows in found.items()]


def _group(
    group: tuple[list[int], list[int]], shape: tuple[int, ...], axes: Sequence[str], cut: Cut
) -> str:
    parts = [
        _values(axis, places, cut)
        for axis, places, whole in zip(axes, group, shape[::-1])
        if len(places) < whole
    ]
    return " with ".join(parts)


def _values(axis: str, places: Sequence[int], cut: Cut) -> str:
    """``recall 0.5 to 0.7``, ``host link 6, 25 GB/s``."""
    known = [value_words(axis, value) for value in cut.values(axis)]
    in_a_row = len(places) > 2 and all(b - a == 1 for a, b in pairwise(places))
    told = f"{known[places[0]]} to {known[places[-1]]}" if in_a_row else None
    named, unit = words_in_a_sentence(axis)
    return " ".join(filter(None, (named, told or ", ".join(known[i] for i in places), unit)))
