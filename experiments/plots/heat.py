"""A measure over two axes as a heat map, with what it takes to beat no prefetch."""

from __future__ import annotations

import textwrap
from itertools import product

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke

from prefetch_sim.experiments.plots import sides
from prefetch_sim.experiments.plots.arrange import Arranged
from prefetch_sim.experiments.plots.frame import Cut
from prefetch_sim.experiments.plots.lines import without
from prefetch_sim.experiments.plots.sheet import Sheet
from prefetch_sim.experiments.plots.words import axis_words, title_of, value_words

WRITTEN = 9  # cells beside each other, up to which each has its number
LETTERS = 15  # of an axis's words in an inch of a paper
LINE = "white line: as without prefetch"
ALONE = "not run without prefetch"

Grid = npt.NDArray[np.float64]


def sheet(shown: Arranged, scale: float) -> Sheet:
    """The figure: panels of one colour scale, which is right of them."""
    cut = shown.cut
    assert shown.second is not None
    columns, rows = cut.shown(shown.columns), cut.shown(shown.rows)
    places = list(product(rows, columns))
    across = len(columns)
    if shown.rows is None and across > 4:
        across = 3
    down = -(-len(places) // across)
    ups = cut.values(shown.second)
    height = min(0.9 + 0.2 * len(ups), 2.6)
    page = Sheet(
        down, across, count=len(places), height=height, scale=scale, sharex=True, sharey=True
    )
    values = shown.measure.of(cut.frame)
    ends = float(values.min()), float(values.max())
    beside: dict[str, list[str]] = {}
    for panel, (row, column) in zip(page.panels, places):
        inside = cut.only(shown.columns, column).only(shown.rows, row)
        grid, ratio = grids(inside, shown)
        image = panel.imshow(grid, origin="lower", aspect="auto", cmap="viridis",
                             vmin=ends[0], vmax=ends[1])  # fmt: skip
        panel.set_facecolor("#DDDDDD")  # where no point was run
        panel.grid(visible=False)
        _ticks(panel, shown)
        _write(panel, grid, image, 6 * scale, across)
        head = [title_of(d, v) for d, v in ((shown.columns, column), (shown.rows, row)) if d]
        for words in _crossing(panel, grid, ratio, shown, scale):
            beside.setdefault(words, []).append(", ".join(head))
        page.head(panel, head)
    page.label(x=axis_words(shown.x), y=axis_words(shown.second))
    words = shown.measure.words
    lines = -(-len(words) // int(LETTERS * down * height))  # each no longer than the bar
    label = textwrap.fill(words, len(words) // lines + 3)
    bar = page.colorbar(image, ax=page.panels, label=label, fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    notes = [*cut.fixed.values(), *cut.notes, *_about(beside)]
    return page.finish(notes)


def grids(cut: Cut, shown: Arranged) -> tuple[Grid, Grid]:
    """(the measure, the measure over that without prefetch): [second, x], NaN where not run."""
    assert shown.second is not None
    across, ups = shown.cut.values(shown.x), shown.cut.values(shown.second)
    grid, ratio = (np.full((len(ups), len(across)), np.nan) for _ in range(2))
    at = [ups.index(up) for up in cut.frame[shown.second]]
    over = [across.index(x) for x in cut.frame[shown.x]]
    grid[at, over] = shown.measure.of(cut.frame)
    values, base = grid[at, over], without(shown, cut.frame)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio[at, over] = np.where(values == base, 1.0, values / base)  # of nothing, too
    return grid, ratio


def _ticks(panel: Axes, shown: Arranged) -> None:
    assert shown.second is not None
    for axis, dimension in ((panel.xaxis, shown.x), (panel.yaxis, shown.second)):
        names = [value_words(dimension, value) for value in shown.cut.values(dimension)]
        axis.set_ticks(range(len(names)), names)
        axis.set_tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)


def _write(panel: Axes, grid: Grid, image: AxesImage, size: float, across: int) -> None:
    """Each cell's number, dark on light and light on dark."""
    if grid.shape[1] * across > 2 * WRITTEN:
        return
    low, high = image.get_clim()
    digits = 0 if high >= 100 else 1 if high >= 10 else 2
    for (up, over), value in np.ndenumerate(grid):
        if not np.isnan(value):
            ink = "black" if value > (low + high) / 2 else "white"
            text = panel.text(over, up, f"{value:,.{digits}f}", size=size, color=ink,
                              ha="center", va="center", zorder=4)  # fmt: skip
            # In the cell's colour, so that the line does not strike it through.
            around = image.cmap(float((value - low) / ((high - low) or 1.0)))
            text.set_path_effects([withStroke(linewidth=0.5 * size, foreground=around)])


def _crossing(
    panel: Axes, grid: Grid, ratio: Grid, shown: Arranged, scale: float
) -> tuple[str, ...]:
    """Draw the line where prefetch changes nothing; what is said of it, or in its place."""
    assert shown.second is not None
    name = shown.measure.name
    of, axes = sides.sides(ratio, name), (shown.x, shown.second)
    if np.isnan(of).all():
        return () if np.isnan(grid).all() else (ALONE,)
    if not sides.single(of) and {sides.LOWER, sides.HIGHER} <= {*of.ravel()}:
        level = np.select([of == sides.EQUAL, np.isinf(ratio)], [1.0, 2.0], ratio)
        line = panel.contour(level, [1.0], colors="white", linewidths=1.2 * scale)
        if any(len(segment) for segment in line.allsegs[0]):
            line.set_path_effects([withStroke(linewidth=2.2 * scale, foreground="black")])
            alike = sides.equal(of, name, axes, shown.cut)
            return (LINE, alike) if alike else (LINE,)
        line.remove()  # between cells that have no others beside them
    return (sides.words(of, name, axes, shown.cut),)


def _about(beside: dict[str, list[str]]) -> list[str]:
    """What the lines say, and the words of panels, those that say the same together."""
    if beside.keys() == {ALONE}:
        return []
    notes = [LINE] if LINE in beside else []
    for words, panels in beside.items():
        if words != LINE:
            where = ", ".join(filter(None, panels))
            notes.append(f"{where}: " * bool(where) + words)
    return notes
