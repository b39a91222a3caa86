"""Figures of lines that a sweep gets by itself: against cache, recall, any number, by layer."""

from __future__ import annotations

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prefetch_sim.experiments.plots import lines
from prefetch_sim.experiments.plots.arrange import Arranged
from prefetch_sim.experiments.plots.frame import Cut
from prefetch_sim.experiments.plots.measures import TPOT, measure
from prefetch_sim.experiments.plots.sheet import Sheet, tokens_beside
from prefetch_sim.experiments.plots.style import COLOURS, MARKERS, NONE, from_zero, palette
from prefetch_sim.experiments.plots.words import axis_words, title_of, value_words

MAX_PANELS = 4
MAX_COLUMNS = 3  # of panels, where they have several rows of their own
MAX_LINES = 7
PANEL_CHARACTERS = 44  # of a title, before it is wrapped
CAPACITY, EVICTION, PREDICTOR = "cache.capacity", "cache.eviction", "predictor"


def limited(cut: Cut, dimension: str, most: int) -> Cut:
    """The first ``most`` values of a dimension, and a note where there are more."""
    values = cut.values(dimension)
    if len(values) <= most:
        return cut
    few = cut.where(cut.frame[dimension].isin(values[:most]))
    return few.noted(f"first {most} of {len(values)} swept: {axis_words(dimension)}")


def latency_vs_cache(results: Cut, scale: float = 1.0) -> Figure | str:
    """TPOT against capacity: a line a predictor, a column an eviction, a row one more axis.

    Where evictions vary and predictors do not, evictions are the lines.
    """
    if not results.varies(CAPACITY):
        return "needs several values of cache.capacity"
    free = (CAPACITY, PREDICTOR, EVICTION)
    cut, row = _lines(results.held(free), CAPACITY, PREDICTOR, EVICTION), None
    for more in _names(results, *results.others, "hardware", "model", "trace"):
        both = _lines(results.held((*free, more)), CAPACITY, PREDICTOR, EVICTION, more)
        if both.varies(more):
            cut, row = both, more
            break
    if cut.frame.empty:
        return "no predictor and eviction were run at several capacities"
    if cut.varies(PREDICTOR) or not cut.varies(EVICTION):
        cut = limited(cut, EVICTION, MAX_COLUMNS if row else MAX_PANELS)
        shown = _shown(limited(cut, PREDICTOR, MAX_LINES), CAPACITY, PREDICTOR, EVICTION, row)
    else:
        cut = cut.at(PREDICTOR, cut.values(PREDICTOR)[0], len(results.values(PREDICTOR)))
        shown = _shown(limited(cut, EVICTION, MAX_LINES), CAPACITY, EVICTION, rows=row)
    return lines.sheet(shown, scale, "Latency against cache size")


def _names(results: Cut, *dimensions: str) -> list[str]:
    """Those of names that vary, and are few enough to have a row of panels each."""
    return [
        d
        for d in dimensions
        if results.varies(d) and not results.numbers(d) and len(results.values(d)) <= MAX_PANELS
    ]


def _shown(
    cut: Cut, x: str, colour: str, columns: str | None = None, rows: str | None = None
) -> Arranged:
    return Arranged(cut, measure(cut.frame, TPOT), "lines", x, colour, columns, rows, None)


def _lines(cut: Cut, along: str, *of: str) -> Cut:
    """Only the points that make lines: with each value of ``of`` together, several ``along``."""
    cut = cut.where(cut.frame[TPOT].notna())
    return cut.where(cut.frame.groupby(list(of))[along].transform("nunique") > 1)


def what_if(results: Cut, scale: float = 1.0) -> Figure | str:
    """TPOT against any number of the config that was swept: a panel each, a line a predictor."""
    numbers = [d for d in results.others if len(results.numbers(d)) > 1]
    if not numbers:
        return "needs several values of a number, such as hardware.host_link.gb_s"
    cuts = {}
    for key in numbers:
        cut = results.held((key, PREDICTOR))
        cut = _lines(cut.where(cut.frame[key] != "none"), key, PREDICTOR)
        if len(cut.frame):
            cuts[key] = limited(cut, PREDICTOR, MAX_LINES)
    if not cuts:
        return "no predictor was run at several values of a number with all else alike"
    swept, more = list(cuts)[:MAX_PANELS], []
    if len(cuts) > MAX_PANELS:
        more = [f"first {MAX_PANELS} of {len(cuts)} swept numbers"]
        cuts = {key: cuts[key] for key in swept}
    common = set.intersection(*(set(_told(cut)) for cut in cuts.values()))
    columns = min(len(swept), 2)
    page = Sheet(-(-len(swept) // columns), columns, count=len(swept), scale=scale, sharey=True)
    styles = lines.series_styles(results, PREDICTOR)
    for key, cut in cuts.items():
        styles = lines.told_apart(styles, [cut], _shown(cut, key, PREDICTOR))
    requests: list[int] = []
    for panel, (key, cut) in zip(page.panels, cuts.items()):
        shown = _shown(cut, key, PREDICTOR)
        requests += lines.line_panel(panel, cut, shown, styles, scale)
        own = "; ".join(note for note in _told(cut) if note not in common)
        panel.set(xlabel=axis_words(key), title=fill(own, PANEL_CHARACTERS))
    from_zero(page.panels)
    page.label(y=shown.measure.words)
    if all(lines.one_at_a_time(cut) for cut in cuts.values()):
        tokens_beside(page)
    notes = [note for note in _told(cuts[swept[0]]) if note in common]
    about = lines.about(requests, shown)
    return page.finish([*notes, *more, *about], "Latency against swept numbers", "predictor")


def _told(cut: Cut) -> list[str]:
    return [*cut.fixed.values(), *cut.notes]


def latency_vs_recall(results: Cut, scale: float = 1.0) -> Figure | str:
    """What a better predictor would bring: an oracle degraded to each slot recall.

    Bounds hold for whole runs, so time here is a run's time over its output tokens.
    """
    oracles = results.where(results.frame["recall"].notna()).sampled("recall")
    if not oracles.varies("recall"):
        return "needs an oracle predictor at several values of recall"
    series = next((d for d in (PREDICTOR, EVICTION, CAPACITY) if oracles.varies(d)), None)
    cut = oracles.held(["recall", "hardware", *([series] if series else [])])
    cut = limited(cut, "hardware", MAX_PANELS)
    machines = cut.values("hardware")
    columns = min(len(machines), 2)
    page = Sheet(-(-len(machines) // columns), columns, count=len(machines), scale=scale)
    styles = palette(results.values(PREDICTOR))
    for panel, name in zip(page.panels, machines):
        frame = cut.frame[cut.frame["hardware"] == name]
        for i, value in enumerate(cut.shown(series)):
            line = frame if series is None else frame[frame[series] == value]
            label = title_of(series, value) if series else "oracle degraded"
            style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
            if series in (None, PREDICTOR) and len(line):
                style = styles[line[PREDICTOR].iloc[0]]
            # Of all that may vary, the clairvoyant bound depends on capacity alone.
            if len(line):
                _recall_line(panel, line, label, style, scale, own_bound=series == CAPACITY)
        if series is None:
            _others(panel, results, frame, scale)
        panel.set(title=name)
    from_zero(page.panels)
    page.label(x=axis_words("recall"), y="run time per output token, ms")
    notes = [*_told(cut), "run time per output token: prefill included"]
    return page.finish(notes, "Latency against the predictor's recall", "")


def _recall_line(
    panel: Axes,
    line: pd.DataFrame,
    label: str,
    style: dict[str, Any],
    scale: float,
    *,
    own_bound: bool,
) -> None:
    """One degraded oracle, and what no policy can beat beside it."""
    line = line.sort_values("recall")
    panel.plot(line["recall"], 1000 / line["tokens_per_s"], label=label, **style)
    tokens = (line["tokens_per_s"] * line["total_ms"] / 1000).iloc[0]
    bounds = (
        ("clairvoyant", "--", style["color"] if own_bound else "black"),
        ("compute", ":", "black"),
    )
    for bound, dashes, tint in bounds:
        column = f"bounds_ms.{bound}"
        if column not in line or pd.isna(line[column].iloc[0]):
            continue
        name = "all resident" if bound == "compute" else "clairvoyant bound"
        name += f", {label}" if own_bound and bound == "clairvoyant" else ""
        height = line[column].iloc[0] / tokens
        panel.axhline(height, linestyle=dashes, color=tint, linewidth=0.9 * scale, label=name)


def _others(panel: Axes, results: Cut, oracle: pd.DataFrame, scale: float) -> None:
    """The other predictors under the same conditions, at the recall that they really had."""
    same = results.frame
    for dimension in (d for d in results.dimensions if d not in (PREDICTOR, "recall")):
        same = same[same[dimension] == oracle[dimension].iloc[0]]
    same = same[same["recall"].isna()]
    styles = palette(results.values(PREDICTOR))
    for _, row in same.iterrows():
        name, height = row[PREDICTOR], 1000 / row["tokens_per_s"]
        label = f"{value_words(PREDICTOR, name)} (its recall)"
        column = f"predictors.{name}.slot_recall"
        if name == "none":
            none = value_words(PREDICTOR, name)
            panel.axhline(height, color=NONE, linewidth=0.9 * scale, label=none)
        elif column in row and not pd.isna(row[column]):
            style = styles[name] | {"markersize": 5.5 * scale, "linestyle": "none"}
            panel.plot([row[column]], [height], label=label, **style)


def hit_rate_by_layer(results: Cut, scale: float = 1.0) -> Figure | str:
    """Hit rate by layer: a line an eviction, a panel a capacity; how far predictors move it.

    Where one eviction was run, a line a predictor.
    """
    cut = results.held((CAPACITY, EVICTION, PREDICTOR))
    of = EVICTION if cut.varies(EVICTION) else PREDICTOR
    cut = _run_with_all(cut) if of == EVICTION else limited(cut, PREDICTOR, MAX_LINES)
    cut = limited(cut, EVICTION, MAX_LINES)
    sizes = cut.values(CAPACITY)
    if len(sizes) > MAX_PANELS:
        few = [sizes[i] for i in np.linspace(0, len(sizes) - 1, MAX_PANELS).round().astype(int)]
        cut = cut.where(cut.frame[CAPACITY].isin(few)).noted(
            f"{MAX_PANELS} of {len(sizes)} sizes of cache"
        )
        sizes = few
    page = Sheet(1, len(sizes), height=1.9, scale=scale, sharey=True)
    styles = lines.series_styles(cut, of)
    for panel, size in zip(page.panels, sizes):
        inside = cut.only(CAPACITY, size)
        for i, value in enumerate(cut.values(of)):
            runs = inside.only(of, value).frame
            if len(runs):
                style = styles[value] | {"markevery": (i, 6), "label": value_words(of, value)}
                _by_layer(panel, runs, style)
        panel.set(title=title_of(CAPACITY, size).replace("of experts ", ""))
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    page.panels[0].set_ylim(0, min(102, max(1, 1.08 * max(p.dataLim.y1 for p in page.panels))))
    page.label(x="MoE layer", y="hit rate, %")
    notes = _told(cut)
    predictors = cut.values(PREDICTOR)
    if of == EVICTION and len(predictors) > 1:
        line = "no prefetch" if "none" in predictors else "mean"
        notes.append(f"lines: {line}, shaded: lowest to highest of {len(predictors)} predictors")
    return page.finish(notes, "Hit rate by layer", axis_words(of))


def _run_with_all(cut: Cut) -> Cut:
    """The predictors that were run at every capacity and eviction, if any; else all."""
    frame = cut.frame
    places = len(frame[[CAPACITY, EVICTION]].drop_duplicates())
    runs = frame.groupby(PREDICTOR)["total_ms"].transform("size")
    return cut.where(runs == places) if (runs == places).any() else cut


def _by_layer(panel: Axes, runs: pd.DataFrame, style: dict[str, Any]) -> None:
    """One line of these runs, which differ in predictors: without one, and how far others are."""
    every = np.array(
        [[np.nan if r is None else 100 * r for r in rates] for rates in runs["hit_rate.by_layer"]],
        dtype=float,
    )
    layers = np.arange(every.shape[1])
    alone = (runs[PREDICTOR] == "none").to_numpy()
    panel.plot(layers, every[alone][0] if alone.any() else every.mean(axis=0), **style)
    if len(every) > 1:
        low, high = every.min(axis=0), every.max(axis=0)
        panel.fill_between(layers, low, high, color=style["color"], alpha=0.25, linewidth=0)
