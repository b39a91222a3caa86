"""Figures by category: where the time goes, and how machines compare."""

from __future__ import annotations

import math
import textwrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from prefetch_sim.experiments.plots.curves import EVICTION, MAX_LINES, PREDICTOR, limited
from prefetch_sim.experiments.plots.frame import Cut
from prefetch_sim.experiments.plots.lines import (
    Styles,
    one_at_a_time,
    series_styles,
    too_narrow,
)
from prefetch_sim.experiments.plots.measures import TPOT
from prefetch_sim.experiments.plots.sheet import Sheet
from prefetch_sim.experiments.plots.style import PARTS
from prefetch_sim.experiments.plots.words import axis_words, title_of, value_words
from prefetch_sim.sim.results.paired import paired

MAX_BARS = 16
MAX_MACHINES = 6
DECODE_RATE = "decode_tokens_per_s"
_ROOM = 1.1  # times the outermost points, on either side
LABEL = 28  # characters of a bar's name, before it is wrapped


def stall_breakdown(results: Cut, scale: float = 1.0) -> Figure | str:
    """Where a token's time goes: a bar a predictor and what else fits, a panel a machine."""
    named = [PREDICTOR]
    cut = results.held(("hardware", *named))
    for more in (EVICTION, *results.others, "model", "trace"):
        both = results.held(("hardware", *named, more))
        bars = both.frame[[*named, more]].drop_duplicates()
        if len(bars) <= MAX_BARS and (both.frame.groupby("hardware")[more].nunique() > 1).all():
            named, cut = [*named, more], both
    cut = limited(cut, "hardware", MAX_MACHINES)
    machines = cut.values("hardware")
    named = [d for d in named if cut.varies(d)] or [PREDICTOR]
    order = {d: {value: i for i, value in enumerate(cut.values(d))} for d in named}
    frame = cut.frame.sort_values(
        named[::-1], key=lambda column: column.map(order[str(column.name)]), kind="stable"
    )
    said = {d: title_of if cut.numbers(d) else value_words for d in named}
    labels = [
        textwrap.fill(
            ", ".join(said[d](d, v) for d, v in zip(named, row)), LABEL, break_on_hyphens=False
        )
        for row in frame[named].itertuples(index=False)
    ]
    frame = frame.copy()  # of one piece
    frame["bar"] = labels
    names = list(frame["bar"].unique())
    columns = 1 if len(machines) == 1 else 2 if len(machines) in (2, 4) else 3
    lines = max(name.count("\n") + 1 for name in names)
    page = Sheet(
        -(-len(machines) // columns),
        columns,
        count=len(machines),
        height=0.5 + max(0.15, 0.12 * lines) * len(names),
        scale=scale,
        sharey=True,
    )
    for panel, machine in zip(page.panels, machines):
        rows = frame[frame["hardware"] == machine].set_index("bar").reindex(names)
        tokens = rows["tokens_per_s"] * rows["total_ms"] / 1000
        left = np.zeros(len(names))
        for part, colour in PARTS.items():
            own = part in ("compute", "runtime")
            key = f"{part}_ms" if own else f"stall_ms.{part.replace(' ', '_')}"
            if key not in frame or not frame[key].any():
                continue
            width = (rows[key] / tokens).fillna(0).to_numpy()
            panel.barh(names, width, left=left, color=colour, label=part, height=0.7)
            left += width
        panel.set(title=machine)
        panel.set_xlim(0, 1.03 * left.max())
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
    page.panels[0].invert_yaxis()
    page.label(x="run time per output token, ms")
    notes = [*cut.fixed.values(), *cut.notes, "prefill included"]
    return page.finish(notes, "Where the time goes", "")


def hardware_comparison(results: Cut, scale: float = 1.0) -> Figure | str:
    """How fast each machine is without prefetch, and what each predictor saves there.

    The first on a log axis, as machines differ by orders of magnitude; savings on a common one.
    Where predictors do not vary, evictions are compared, to LRU; where these do not either, the
    speeds stand alone.
    """
    if not results.varies("hardware"):
        return "needs several values of hardware"
    of = EVICTION if results.varies(EVICTION) and not results.varies(PREDICTOR) else PREDICTOR
    cut = results.held(("hardware", of))
    if not cut.varies("hardware"):
        return f"no {axis_words(of)} was run on several machines"
    cut = limited(cut, of, MAX_LINES + 1)
    rows = cut.frame.set_index(["hardware", of])
    run_on, usual = cut.frame[of].value_counts(), "none" if of == PREDICTOR else "lru"
    base = usual if run_on.get(usual, 0) == run_on.max() else str(run_on.idxmax())
    times = rows[TPOT].xs(base, level=of).sort_values()
    machines = list(times.index)
    word = "without prefetch" if base == "none" else f"with {value_words(of, base)}"
    others = [value for value in cut.values(of) if value != base]
    savings = {p: [_saved(rows, machine, base, p) for machine in machines] for p in others}
    height = 0.5 + 0.24 * len(machines)
    widths = [1, 1.25] if others else [1]
    page = Sheet(1, len(widths), height=height, scale=scale, sharey=True, width_ratios=widths)
    speed, *gains = page.panels
    rates = 1000 / times if one_at_a_time(cut) else pd.Series(math.nan, machines)
    if DECODE_RATE in rows:
        rates = rows[DECODE_RATE].xs(base, level=of)[machines]
    _speeds(speed, times, rates, scale)
    speed.set(xlabel=f"time per output token {word}, ms")
    for gain in gains:
        _gains(gain, savings, of, series_styles(cut, of), scale)
        gain.set(xlabel="time per output token saved, %")
    for panel in page.panels:
        panel.set_ylim(len(machines) - 0.5, -0.5)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="y", visible=False)
        for border in np.arange(0.5, len(machines) - 1):
            panel.axhline(border, color="#DDDDDD", linewidth=0.4 * scale)
    counts = {saved.requests for each in savings.values() for saved in each if saved.requests}
    notes = [f"bar: 95 % interval over {max(counts)} pairs of requests"] if counts else []
    notes = [note + too_narrow(cut) for note in notes]
    notes = [*cut.fixed.values(), *cut.notes, *notes]
    return page.finish(notes, "Machines compared", axis_words(of))


class _Saved(NamedTuple):
    """Time that a policy saves, %, and its 95 % interval over pairs of requests."""

    saved: float
    low: float = math.nan
    high: float = math.nan
    requests: int = 0


def _saved(rows: pd.DataFrame, machine: str, base: str, policy: str) -> _Saved:
    if (machine, policy) not in rows.index:
        return _Saved(math.nan)
    one: Any = rows.loc[(machine, base)]
    other: Any = rows.loc[(machine, policy)]
    saved = 100 * (1 - other[TPOT] / one[TPOT])
    lists = {name: f"by_request.{name}" for name in ("tpot_ms", "output_tokens")}
    if not all(isinstance(one.get(column), list | np.ndarray) for column in lists.values()):
        return _Saved(saved)
    sides = [{name: side[column] for name, column in lists.items()} for side in (one, other)]
    found = paired(*sides)
    if not found.enough:
        return _Saved(saved)
    of = 100 / one[TPOT]
    return _Saved(saved, -of * found.high, -of * found.low, found.requests)


def _speeds(panel: Axes, times: pd.Series, rates: pd.Series, scale: float) -> None:
    """A dot a machine, with its tokens/s beside it: of a batch, those of all requests."""
    places = np.arange(len(times))
    spread = times.max() / times.min()
    middle = math.sqrt(times.min() * times.max())
    panel.plot(times, places, "o", color="black", markersize=3.6 * scale)
    for place, ms, rate in zip(places, times, rates):
        if math.isnan(rate):
            continue
        text = f"{rate:,.0f}" if rate >= 10 else f"{rate:,.1f}" if rate >= 1 else f"{rate:.2f}"
        side, at = (1, "left") if ms <= middle else (-1, "right")  # where there is room
        panel.annotate(
            f"{text} tokens/s", (ms, place), (4 * scale * side, 0), textcoords="offset points",
            size=6.5 * scale, va="center", ha=at,
        )  # fmt: skip
    panel.set_xscale("log")
    room = max(_ROOM, spread**0.08)
    panel.set_xlim(times.min() / room, times.max() * room)
    few = spread * room**2 < 20  # a log axis of less may have no round number
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]) if few else LogLocator(subs=(1, 3))
    panel.xaxis.set_major_locator(ticks)
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_yticks(places, list(times.index))


def _gains(
    panel: Axes, savings: dict[str, list[_Saved]], of: str, styles: Styles, scale: float
) -> None:
    spread = np.linspace(-0.3, 0.3, len(savings)) if len(savings) > 1 else [0.0]
    for (policy, each), offset in zip(savings.items(), spread):
        places = np.arange(len(each)) + offset
        saved, low, high, _ = np.array(each, dtype=float).T
        style = styles[policy] | {"linestyle": "none"}
        panel.hlines(places, low, high, color=style["color"], linewidth=0.9 * scale)
        panel.plot(saved, places, label=value_words(of, policy), **style)
    panel.axvline(0, color="#333333", linewidth=0.7 * scale)
