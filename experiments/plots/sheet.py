"""The page a sweep's figure is drawn on: as wide as a paper's column or text, or for a slide.

From the top: a title (if any), the legend, the panels, and a caption that tells at what everything
else was held. All sizes follow from the scale: a slide's figure is the paper's, larger.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter

from prefetch_sim.experiments.plots.style import look
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean

SIZES = {"paper": 1.0, "slide": 1.8}
COLUMN, TEXT = 3.3, 7.0  # inches: the widths of a paper's column and of its text
DPI = {1.0: 200, 1.8: 110}  # of a PNG: enough for print, and a file that is not large
_PAD = 0.04
_SMALL = 6.5  # points: the caption
_INK = "#555555"


class Sheet(Figure):
    """A figure of ``rows`` × ``columns`` panels, of ``count`` in all. Notebooks show it as it is.

    ``height`` is of one panel, in inches of a paper. Panels are in ``panels``, row by row.
    """

    def __init__(
        self,
        rows: int = 1,
        columns: int = 1,
        *,
        count: int | None = None,
        height: float = 1.9,
        wide: bool | None = None,
        scale: float = 1.0,
        **axes: Any,
    ) -> None:
        wide = columns > 1 if wide is None else wide
        super().__init__(
            figsize=((TEXT if wide else COLUMN) * scale, rows * height * scale),
            layout="constrained",
        )
        FigureCanvasAgg(self)
        self.scale, self._wide = scale, wide
        self._body = rows * height * scale
        grid = self.subplots(rows, columns, squeeze=False, **axes)
        self.panels: list[Axes] = grid.ravel().tolist()[: count or rows * columns]
        for spare in grid.ravel().tolist()[count or rows * columns :]:
            spare.remove()
        self.columns = columns
        self.name, self.caption = "figure", ""  # what a file of it is called; what it tells
        self._tops: list[tuple[Any, float]] = []  # what stands above the panels, with its height
        self._foot: Any = None  # the caption's text

    def finish(
        self,
        notes: Sequence[str],
        title: str | None = None,
        legend: str | None = None,
    ) -> Sheet:
        """Put title, legend (its title: the axis it is of) and caption around the panels."""
        width, _ = self.get_size_inches()
        pad = _PAD * self.scale
        if title:
            text = self.text(0, 0, title, size=9 * self.scale, weight="bold", va="top")
            self._tops.append((text, self._height(text)))
        made = self._legend(legend) if legend is not None else None
        if made is not None:
            self._tops.append((made, self._height(made)))
        self._foot = self._caption("; ".join(notes), width - 2 * pad)
        self.caption = self._foot.get_text().replace("\n", " ")
        self._lay_out()
        return self

    def bare(self) -> Sheet:
        """Leave the caption off the page, which is lower then; ``caption`` still has it."""
        if self._foot is not None:
            self._foot.set_text("")
            self._lay_out()
        return self

    def _lay_out(self) -> None:
        """Give the page its height, and what is around the panels its place."""
        width, _ = self.get_size_inches()
        pad = _PAD * self.scale
        foot = self._height(self._foot) + 2 * pad
        head = sum(high + pad for _, high in self._tops) + pad
        height = self._body + head + foot
        self.set_size_inches(width, height)
        at = height - pad
        for artist, high in self._tops:
            place = (pad / width, at / height)
            if isinstance(artist, Legend):
                artist.set_bbox_to_anchor(place, self.transFigure)
            else:
                artist.set_position(place)
            at -= high + pad
        self._foot.set_position((pad / width, pad / height))
        engine = self.get_layout_engine()
        assert engine is not None
        engine.set(rect=(0, foot / height, 1, self._body / height), w_pad=pad, h_pad=pad)  # type: ignore[call-arg]

    def _legend(self, title: str) -> Legend | None:
        """One for all panels, in as many columns as fit."""
        found: dict[str, Any] = {}
        for panel in self.panels:
            for handle, label in zip(*panel.get_legend_handles_labels()):
                found.setdefault(label, handle)
        if not found:
            return None
        width, _ = self.get_size_inches()
        for columns in range(min(len(found), 6), 0, -1):
            made = self.legend(
                list(found.values()), list(found), loc="upper left", ncols=columns,
                title=title or None, alignment="left", borderaxespad=0, borderpad=0,
                columnspacing=1.2, handlelength=1.8, handletextpad=0.5, labelspacing=0.3,
            )  # fmt: skip
            if made.get_window_extent().width <= (width - 2 * _PAD) * self.dpi or columns == 1:
                return made
            made.remove()
        return None

    def _caption(self, words: str, width: float) -> Any:
        text = self.text(0, 0, words, size=_SMALL * self.scale, color=_INK, va="bottom")
        if words:
            each = text.get_window_extent().width / self.dpi / len(words)
            text.set_text(
                "\n".join(textwrap.wrap(words, int(width / each * 0.96), break_on_hyphens=False))
            )
        return text

    def _height(self, artist: Any) -> float:
        return float(artist.get_window_extent().height) / self.dpi

    def head(self, panel: Axes, parts: Sequence[str]) -> None:
        """A panel's title, in as many lines as its width asks for."""
        width = (TEXT if self._wide else COLUMN) / self.columns
        panel.set_title(textwrap.fill(", ".join(parts), int(15 * width)))

    def label(self, *, x: str | None = None, y: str | None = None) -> None:
        """Words along the lowest panels and the left ones; each axis once."""
        for place, panel in enumerate(self.panels):
            if x is not None and place + self.columns >= len(self.panels):
                panel.set_xlabel(x)
                panel.tick_params(axis="x", labelbottom=True)
            if y is not None and place % self.columns == 0:
                panel.set_ylabel(y)

    def savefig(self, fname: Any, **how: Any) -> None:
        """As a Figure is saved; fonts stay text in a PDF, and bytes are the same each time."""
        kind = how.get("format") or str(fname).rpartition(".")[2]
        if kind in ("svg", "pdf"):
            how.setdefault("metadata", {"Date" if kind == "svg" else "CreationDate": None})
        with look(self.scale):
            super().savefig(fname, **{"dpi": DPI.get(self.scale, 150), **how})

    def _repr_png_(self) -> bytes:
        out = BytesIO()
        self.savefig(out, format="png")
        return out.getvalue()


def scale_of(size: str) -> float:
    if size not in SIZES:
        raise ConfigError(f"--size {size!r} is none{did_you_mean(size, SIZES)}")
    return SIZES[size]


def tokens_beside(sheet: Sheet) -> None:
    """Tokens/s on the right of panels in ms per token, where the last column ends."""
    for place, panel in enumerate(sheet.panels):
        if (place + 1) % sheet.columns and place + 1 != len(sheet.panels):
            continue
        low, high = panel.get_ylim()
        ticks = _round_rates(max(low, 0.08 * high), high)
        if ticks:
            beside = panel.secondary_yaxis("right")
            beside.set_yticks([1000 / rate for rate in ticks])
            beside.yaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{1000 / at:g}"))
            beside.set_ylabel("tokens/s")
            beside.minorticks_off()


def _round_rates(low: float, high: float) -> list[float]:
    """Round numbers of tokens/s between ``low`` and ``high`` ms, far enough apart to read."""
    nice = sorted(
        digit * 10.0**power
        for power in range(-4, 6)
        for digit in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    )
    kept: list[float] = []
    for rate in nice:  # from the top of the axis down
        at = 1000 / rate
        if low <= at <= high and (not kept or 1000 / kept[-1] - at > 0.13 * high):
            kept.append(rate)
    return kept
