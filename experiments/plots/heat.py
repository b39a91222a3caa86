"""A measure over two axes as a heat map, with what it takes to beat no prefetch."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from prefetch_sim.experiments.plots.arrange import Arranged
from prefetch_sim.experiments.plots.frame import Cut
from prefetch_sim.experiments.plots.lines import without
from prefetch_sim.experiments.plots.sheet import Sheet
from prefetch_sim.experiments.plots.words import axis_words, title_of, value_words

WRITTEN = 9  # cells beside each other, up to which each has its number
LINE = "white line: as fast as without prefetch"

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
    page = Sheet(
        down, across, count=len(places), height=min(0.9 + 0.2 * len(ups), 2.6), scale=scale,
        sharex=True, sharey=True,
    )  # fmt: skip
    values = shown.measure.of(cut.frame)
    ends = float(values.min()), float(values.max())
    crossed = False
    for panel, (row, column) in zip(page.panels, places):
        inside = cut.only(shown.columns, column).only(shown.rows, row)
        grid, ratio = grids(inside, shown)
        image = panel.imshow(grid, origin="lower", aspect="auto", cmap="viridis",
                             vmin=ends[0], vmax=ends[1])  # fmt: skip
        panel.set_facecolor("#DDDDDD")  # where no point was run
        panel.grid(visible=False)
        _ticks(panel, shown)
        _write(panel, grid, ends, 6 * scale, across)
        crossed |= _crossing(panel, ratio, scale)
        head = [title_of(d, v) for d, v in ((shown.columns, column), (shown.rows, row)) if d]
        page.head(panel, head)
    page.label(x=axis_words(shown.x), y=axis_words(shown.second))
    bar = page.colorbar(image, ax=page.panels, label=shown.measure.words, fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    notes = [*cut.fixed.values(), *cut.notes, *([LINE] if crossed else [])]
    return page.finish(notes)


def grids(cut: Cut, shown: Arranged) -> tuple[Grid, Grid]:
    """(the measure, the measure over that without prefetch): [second, x], NaN where not run."""
    assert shown.second is not None
    across, ups = shown.cut.values(shown.x), shown.cut.values(shown.second)
    grid, ratio = (np.full((len(ups), len(across)), np.nan) for _ in range(2))
    heights = shown.measure.of(cut.frame)
    for index, row in cut.frame.iterrows():
        place = ups.index(row[shown.second]), across.index(row[shown.x])
        grid[place] = heights[index]
        alone = without(shown, cut.frame.loc[[index]])
        if alone:
            ratio[place] = grid[place] / alone
    return grid, ratio


def _ticks(panel: Axes, shown: Arranged) -> None:
    assert shown.second is not None
    for axis, dimension in ((panel.xaxis, shown.x), (panel.yaxis, shown.second)):
        names = [value_words(dimension, value) for value in shown.cut.values(dimension)]
        axis.set_ticks(range(len(names)), names)
        axis.set_tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)


def _write(panel: Axes, grid: Grid, ends: tuple[float, float], size: float, across: int) -> None:
    """Each cell's number, dark on light and light on dark."""
    if grid.shape[1] * across > 2 * WRITTEN:
        return
    middle = (ends[0] + ends[1]) / 2
    digits = 0 if ends[1] >= 100 else 1 if ends[1] >= 10 else 2
    for (up, over), value in np.ndenumerate(grid):
        if not np.isnan(value):
            ink = "black" if value > middle else "white"
            panel.text(over, up, f"{value:,.{digits}f}", size=size, color=ink, ha="center",
                       va="center")  # fmt: skip


def _crossing(panel: Axes, ratio: Grid, scale: float) -> bool:
    """A line where prefetch breaks even, if it does within the panel."""
    if min(ratio.shape) < 2 or np.isnan(ratio).any() or not ratio.min() < 1 < ratio.max():
        return False
    line = panel.contour(ratio, [1.0], colors="white", linewidths=1.4 * scale)
    line.set_path_effects([withStroke(linewidth=2.6 * scale, foreground="black")])
    return True
