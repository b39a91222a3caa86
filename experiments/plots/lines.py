"""A measure along an axis: lines where it is of numbers, dots beside names where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prefetch_sim.experiments.plots.arrange import Arranged
from prefetch_sim.experiments.plots.dimensions import of_predictors
from prefetch_sim.experiments.plots.frame import Cut
from prefetch_sim.experiments.plots.measures import ENOUGH, TPOT, Floats
from prefetch_sim.experiments.plots.sheet import Sheet, tokens_beside
from prefetch_sim.experiments.plots.style import COLOURS, MARKERS, NONE, from_zero, palette
from prefetch_sim.experiments.plots.words import axis_words, title_of, value_words

BANDS = 3  # lines in a panel up to which an interval is a band; of more, bars
_SEEN = 0.012  # of the highest point: what a line has to stand off another to be seen
_DASHES = (3, 3), (1, 2.5)  # of a line upon another, of one upon two
Styles = dict[Any, dict[str, Any]]


def sheet(shown: Arranged, scale: float, title: str | None = None) -> Sheet:
    """The figure of lines, or of dots."""
    cut = shown.cut
    columns, rows = cut.shown(shown.columns), cut.shown(shown.rows)
    places = list(product(rows, columns))
    across = len(columns)
    if shown.rows is None and across > 3:
        across = 2 if across == 4 else 3
    lines = shown.numeric
    alike = shown.rows is None  # rows have scales of their own, evictions and the like share one
    names = len(cut.values(shown.x)) * max(2, len(cut.shown(shown.second)))
    page = Sheet(
        -(-len(places) // across),
        across,
        count=len(places),
        height=1.9 if lines else max(1.1, 0.45 + 0.115 * names),
        scale=scale,
        sharex=not lines and (True if alike else "row"),
        sharey=True if alike or not lines else "row",
    )
    styles = series_styles(cut, shown.second)
    requests: list[int] = []
    parts = [cut.only(shown.columns, column).only(shown.rows, row) for row, column in places]
    if lines:
        styles = told_apart(styles, parts, shown)
    for panel, inside, (row, column) in zip(page.panels, parts, places):
        requests += (line_panel if lines else _dots)(panel, inside, shown, styles, scale)
        head = [title_of(d, v) for d, v in ((shown.columns, column), (shown.rows, row)) if d]
        page.head(panel, head)
    if lines:
        from_zero(page.panels)
        page.label(x=axis_words(shown.x), y=shown.measure.words)
        if shown.measure.name == TPOT and one_at_a_time(cut):
            tokens_beside(page)
    else:
        page.panels[0].invert_yaxis()
        for panel in page.panels:
            panel.set_xlim(0, None)
        page.label(x=shown.measure.words)
    notes = [*cut.fixed.values(), *cut.notes, *about(requests, shown)]
    return page.finish(notes, title, axis_words(shown.second) if shown.second else "")


def series_styles(cut: Cut, dimension: str | None) -> Styles:
    """Colour and marker of each value: numbers from dark to light, names as far apart as can be."""
    if dimension is None:
        return {None: {"color": COLOURS[0], "marker": MARKERS[0]}}
    values = cut.values(dimension)
    if cut.numbers(dimension):
        tints = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(values)))
        return {
            value: {"color": tints[i], "marker": MARKERS[i % len(MARKERS)]}
            for i, value in enumerate(values)
        }
    styles = palette(values)
    styles["none"].pop("markersize")
    return styles


def line_panel(panel: Axes, cut: Cut, shown: Arranged, styles: Styles, scale: float) -> list[int]:
    """Draw the lines of ``cut``; the requests behind each interval drawn."""
    values = cut.shown(shown.second)
    dashed: dict[str, Any] = {"linestyle": "--", "linewidth": 0.9 * scale}
    requests: list[int] = []
    compared = False
    for value in values:
        frame, at, height = _line(cut, shown, value)
        low, high, counts = shown.measure.interval(frame)
        requests += counts
        style = styles[value]
        label = value_words(shown.second, value) if shown.second else None
        panel.plot(at, height, label=label, **style)
        if counts:
            _interval(panel, at, low, high, style["color"], scale, band=len(values) <= BANDS)
        alone = without(shown, frame)
        if of_predictors(shown.x) and len(alone) and not np.isnan(alone[0]):
            compared = True
            panel.axhline(alone[0], color=style["color"] if shown.second else NONE, **dashed)
    if compared:
        panel.plot([], [], color=NONE, label=value_words("predictor", "none"), **dashed)
    panel.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    return requests


def _line(cut: Cut, shown: Arranged, value: Any) -> tuple[pd.DataFrame, Floats, Floats]:
    """The points of one line from left to right, where they are along x, and how high."""
    frame = cut.only(shown.second, value).frame
    at = frame[shown.x].map(shown.cut.numbers(shown.x)).sort_values()
    frame = frame.loc[at.index]
    height = np.asarray(shown.measure.of(frame), dtype=np.float64)
    return frame, np.asarray(at, dtype=np.float64), height


def told_apart(styles: Styles, cuts: Iterable[Cut], shown: Arranged) -> Styles:
    """``styles``, dashed and hollow for lines that in a panel, one of ``cuts``, hide another.

    No prefetch has dashes of its own, and is on top.
    """
    near = _SEEN * float(np.nanmax(shown.measure.of(shown.cut.frame).to_numpy(dtype=float)))
    hidden: dict[Any, int] = {}
    for cut in cuts:
        drawn: list[tuple[Floats, Floats]] = []
        for value in shown.cut.shown(shown.second):
            _, at, height = _line(cut, shown, value)
            if value == "none" or not len(at):
                continue
            below = sum(_upon(at, height, *other, near) for other in drawn)
            hidden[value] = max(below, hidden.get(value, 0))
            drawn.append((at, height))
    return styles | {
        value: styles[value]
        | {"linestyle": (0, _DASHES[min(below, len(_DASHES)) - 1]), "fillstyle": "none"}
        for value, below in hidden.items()
        if below
    }


def _upon(at: Floats, height: Floats, other_at: Floats, other: Floats, near: float) -> bool:
    """Whether a line would hide another, which it is nowhere further from than ``near``."""
    if not np.array_equal(at, other_at):
        return False
    return np.allclose(height, other, rtol=0, atol=near, equal_nan=True)


def _interval(
    panel: Axes, at: Floats, low: Floats, high: Floats, colour: Any, scale: float, *, band: bool
) -> None:
    if band:
        panel.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)
    else:
        panel.vlines(at, low, high, color=colour, linewidth=0.7 * scale)


def without(shown: Arranged, frame: pd.DataFrame) -> Floats:
    """The measure of the run that differs from each of ``frame`` in having no predictor, or NaN."""
    if shown.without is None:
        return np.full(len(frame), np.nan)
    alike = [d for d in shown.without.dimensions if d != "predictor" and not of_predictors(d)]
    alone = shown.without.frame[shown.without.frame["predictor"] == "none"]
    keys = alone[alike].itertuples(index=False, name=None)
    found = dict(zip(keys, shown.measure.of(alone)))
    rows = frame[alike].itertuples(index=False, name=None)
    return np.array([found.get(row, np.nan) for row in rows], dtype=float)


def _dots(panel: Axes, cut: Cut, shown: Arranged, styles: Styles, scale: float) -> list[int]:
    """A row for each name, and in it a dot for each value of the second axis."""
    names = shown.cut.values(shown.x)
    values = shown.cut.shown(shown.second)
    requests: list[int] = []
    spread = np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else [0.0]
    for value, offset in zip(values, spread):
        frame = cut.only(shown.second, value).frame
        at = np.array([names.index(name) + offset for name in frame[shown.x]])
        low, high, counts = shown.measure.interval(frame)
        requests += counts
        style = styles[value] | {"linestyle": "none"}
        label = value_words(shown.second, value) if shown.second else None
        if counts:
            panel.hlines(at, low, high, color=style["color"], linewidth=0.9 * scale)
        panel.plot(shown.measure.of(frame), at, label=label, **style)
    panel.set_yticks(range(len(names)), [value_words(shown.x, name) for name in names])
    panel.set_ylim(-0.5, len(names) - 0.5)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", visible=False)
    for border in np.arange(0.5, len(names) - 1):
        panel.axhline(border, color="#DDDDDD", linewidth=0.4 * scale)
    return requests


def about(requests: list[int], shown: Arranged) -> list[str]:
    """What the intervals are, and that there are none where one might look for them."""
    if not requests:
        few = "by_request.output_tokens" in shown.cut.frame and shown.measure.name == TPOT
        return [f"no intervals: fewer than {ENOUGH} requests"] if few else []
    least, most = min(requests), max(requests)
    of = f"{least}" if least == most else f"{least} to {most}"
    what = "band" if shown.numeric and len(shown.cut.shown(shown.second)) <= BANDS else "bar"
    return [f"{what}: 95 % interval over {of} requests (bootstrap){too_narrow(shown.cut)}"]


def too_narrow(cut: Cut) -> str:
    """What is said of intervals, besides, where requests share steps."""
    return "" if one_at_a_time(cut) else ", too narrow, as requests of a batch share steps"


def one_at_a_time(cut: Cut) -> bool:
    """Whether 1000 over TPOT is the tokens/s of the whole machine."""
    return "config.batch_size" not in cut.frame or bool((cut.frame["config.batch_size"] == 1).all())
