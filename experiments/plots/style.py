"""One look for all figures: Okabe and Ito's colour-blind-safe palette, a marker beside a colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prefetch_sim.traces.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
NONE = "#7F7F7F"  # no predictor
PARTS = {  # of the time of a run
    "compute": "#56B4E9",
    "runtime": "#999999",
    "demand miss": "#D55E00",
    "late prefetch": "#E69F00",
    "queueing": "#0072B2",
    "storage": "#CC79A7",
    "cpu": "#009E73",
}
_TICKS = {"size": 2.5, "width": 0.6, "pad": 2}
_HEADER = 0.62  # inches above the axes, for title and subtitle
_LINE = 0.15  # inches more for each further line of the subtitle
_CHARACTER = 0.068  # inches, on average in the subtitle's type
_LEGEND = 2.5  # inches, the widest: its labels are wrapped too
_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "text.parse_math": False,  # a name with a $ in it is a name
    "svg.hashsalt": "prefetch-sim",  # the same figure is the same file
    "pdf.fonttype": 42,  # text stays text, as publishers ask
    "ps.fonttype": 42,
}


@contextmanager
def look(scale: float | None = None) -> Iterator[None]:
    """The settings of a study's figure, or of a sweep's at ``scale`` times a paper's sizes."""
    settings = _SETTINGS if scale is None else _SETTINGS | _paper(scale)
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield


def _paper(scale: float) -> dict[str, Any]:
    """8 points in a column of 3.3 inches, times ``scale``."""
    sizes = {
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "lines.linewidth": 1.2,
        "lines.markersize": 3.6,
        "axes.linewidth": 0.6,
        "axes.titlepad": 3,
        "axes.labelpad": 2.5,
        "grid.linewidth": 0.4,
        "hatch.linewidth": 0.4,
        **{f"{axis}tick.major.{what}": n for axis in "xy" for what, n in _TICKS.items()},
    }
    return {"axes.titleweight": "normal"} | {key: scale * size for key, size in sizes.items()}


def palette(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each label, by its place; ``none`` is grey."""
    named = [label for label in labels if label != "none"]
    styles: dict[str, dict[str, Any]] = {
        label: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, label in enumerate(named)
    }
    # Dashed and on top: where it hides nothing else, nothing hides it.
    none = {"color": NONE, "marker": "o", "markersize": 4, "linestyle": "--", "zorder": 3}
    return styles | {"none": none}


def panels(
    count: int,
    title: str,
    notes: Sequence[str],
    *,
    width: float = 4.0,
    height: float = 3.2,
    side: float = 1.9,
    columns: int | None = None,
    **axes: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` axes in rows of ``columns``, with its header.

    Without ``columns`` in rows of up to three (four are two by two). ``width`` and ``height`` are
    of one panel and ``side`` of the legend's column, in inches.
    """
    columns = columns or (2 if count == 4 else min(count, 3))
    rows = -(-count // columns)
    across = max(columns * width + side, 7.0)
    subtitle = textwrap.wrap(", ".join(notes), int((across - _LEGEND) / _CHARACTER)) or [""]
    header = _HEADER + _LINE * (len(subtitle) - 1)
    size = (across, rows * height + header)
    figure = Figure(figsize=size, layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, 0, 1, 1 - header / size[1]))  # type: ignore[call-arg]
    figure.text(0.1 / size[0], 1 - 0.1 / size[1], title, size=12, weight="bold", va="top")
    place = (0.1 / size[0], 1 - 0.36 / size[1])
    figure.text(*place, "\n".join(subtitle), size=8, color="#555555", va="top")
    grid = figure.subplots(rows, columns, squeeze=False, **axes).ravel().tolist()
    for spare in grid[count:]:
        spare.remove()
    return figure, grid[:count]


def from_zero(axes: Sequence[Axes]) -> None:
    """Each y axis from zero to above its highest marker; axes that share one get the same.

    An axis of empty panels stays as it is.
    """
    for panel in axes:
        shared = panel.get_shared_y_axes().get_siblings(panel)
        highest = max(one.dataLim.y1 for one in shared)
        if isfinite(highest):
            panel.set_ylim(0, 1.05 * highest)


def legend(figure: Figure, axes: Sequence[Axes], title: str | None = None) -> None:
    """One legend for all panels, right of them, without repeats."""
    found: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            found.setdefault(label, handle)
    figure.legend(
        list(found.values()),
        [wrapped(label) for label in found],
        loc="outside right upper",
        title=title,
        alignment="left",
        fontsize=8,
    )


def wrapped(label: str) -> str:
    return textwrap.fill(label, 30, break_long_words=False)


def save(figure: Figure, path: Path) -> None:
    """``path``.png and ``path``.svg."""
    with replacing(path.with_suffix(".png")) as whole:
        figure.savefig(whole, format="png", dpi=160)
    with replacing(path.with_suffix(".svg")) as whole:
        figure.savefig(whole, format="svg", metadata={"Date": None})


def remove(path: Path) -> None:
    """What ``save`` may have left there before."""
    for suffix in (".png", ".svg"):
        path.with_suffix(suffix).unlink(missing_ok=True)
