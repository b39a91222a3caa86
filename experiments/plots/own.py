"""One figure of a user's own: any measure along any axis of a sweep, by any others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from prefetch_sim.experiments.plots import heat, lines
from prefetch_sim.experiments.plots.arrange import Where, arrange
from prefetch_sim.experiments.plots.frame import read
from prefetch_sim.experiments.plots.labels import labelled
from prefetch_sim.experiments.plots.measures import TPOT
from prefetch_sim.experiments.plots.sheet import Sheet, scale_of
from prefetch_sim.experiments.plots.style import look
from prefetch_sim.experiments.plots.table import Source
from prefetch_sim.experiments.sweeps.sound import damaged


def draw(
    results: Source,
    x: str | None = None,
    y: str = TPOT,
    by: str | Sequence[str] = (),
    where: Where = (),
    kind: str | None = None,
    size: str = "paper",
    labels: Mapping[str, str] | None = None,
    caption: bool = True,
) -> Sheet:
    """A matplotlib Figure of measure ``y`` along axis ``x`` of a sweep.

    ``results`` is a sweep's folder, a file of its results, or their DataFrame; ``by`` the axes
    shown as colour (in a heat map: up the side), columns and rows of panels; ``where`` holds others
    (``{"hardware": "l4"}`` or ``["hardware=l4"]``); ``kind`` is "lines" or "heat"; ``size`` "paper"
    or "slide". Axes are named by their path or the end of it. Axes that vary and were not named
    take the places left. ``labels`` are what values, axes and the measure are called, by their
    names. The caption is ``figure.caption``, also where it is not drawn. Raises ConfigError for
    what the sweep does not have, and for axes that find no place.
    """
    axes = [by] if isinstance(by, str) else list(by)
    with look(scale := scale_of(size)), labelled(labels or {}):
        shown = arrange(read(results), x, y, axes, where, kind)
        try:
            page = heat.sheet(shown, scale) if shown.kind == "heat" else lines.sheet(shown, scale)
        except (KeyError, TypeError, ValueError) as error:  # of columns that hold something else
            name = "these results" if isinstance(results, pd.DataFrame) else str(results)
            raise damaged(name, error) from error
        if not caption:
            page.bare()
    page.name = f"{shown.measure.name}_by_{shown.x}"
    return page
