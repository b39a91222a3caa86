"""Figures of lines: against cache size, against recall, by layer."""

from __future__ import annotations

from itertools import product
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from prefetch_sim.experiments.plots.frame import MAIN, Cut, title_of
from prefetch_sim.experiments.plots.style import (
    COLOURS,
    MARKERS,
    NONE,
    from_zero,
    legend,
    palette,
    panels,
)

MAX_PANELS = 4
MAX_COLUMNS = 3  # of panels, where they have several rows of their own
MAX_LINES = 7
KERNELS = "config.runtime.kernels"
PANEL_CHARACTERS = 44  # of a title, before it is wrapped


def limited(cut: Cut, dimension: str, most: int) -> tuple[list[str], list[str]]:
    """The first ``most`` values of a dimension, and a note where there are more."""
    values = cut.values(dimension)
    more = len(values) > most
    plural = dimension if dimension == "hardware" else f"{dimension}s"
    return values[:most], [f"first {most} of {len(values)} {plural}"] if more else []


def latency_vs_cache(results: Cut) -> Figure | str:
    """TPOT against capacity: a line a predictor, a panel an eviction, a row the kernels."""
    if not results.varies("capacity"):
        return "needs several values of cache.capacity"
    free = ("capacity", "predictor", "eviction")
    cut, rows = _lines(results.held(free), "capacity", "predictor", "eviction"), [""]
    if KERNELS in results.others:
        held = results.held((*free, KERNELS))
        both = _lines(held, "capacity", "predictor", "eviction", KERNELS)
        if both.varies(KERNELS):
            cut, rows = both, both.values(KERNELS)
    if cut.frame.empty:
        return "no predictor and eviction were run at several capacities"
    evictions, more = limited(cut, "eviction", MAX_PANELS if len(rows) == 1 else MAX_COLUMNS)
    predictors, more_lines = limited(cut, "predictor", MAX_LINES)
    figure, axes = panels(
        len(rows) * len(evictions),
        "Latency against cache size",
        [*cut.fixed.values(), *more, *more_lines],
        width=3.4,
        columns=len(evictions) if len(rows) > 1 else None,
        sharey="row" if len(rows) > 1 else True,
    )
    styles = palette(results.values("predictor"))
    for panel, (kernels, eviction) in zip(axes, product(rows, evictions)):
        frame = _of(cut, kernels).frame
        for predictor in predictors:
            line = frame[(frame["eviction"] == eviction) & (frame["predictor"] == predictor)]
            line = line.sort_values("capacity")
            if len(line):
                panel.plot(
                    line["capacity"], line["tpot_ms.mean"], label=predictor, **styles[predictor]
                )
        title = f"{eviction}, {kernels} kernels" if kernels else eviction
        panel.set(title=title, xlabel="cache, % of all experts")
    from_zero(axes)
    for panel in _left(axes):
        panel.set_ylabel("time per output token, ms")
    legend(figure, axes, "predictor")
    return figure


def _of(cut: Cut, kernels: str) -> Cut:
    """The points with ``kernels``; all of them where it is empty, as kernels are held."""
    return cut.where(cut.frame[KERNELS] == kernels) if kernels else cut


def _lines(cut: Cut, along: str, *of: str) -> Cut:
    """Only the points that make lines: with each value of ``of`` together, several ``along``."""
    cut = cut.where(cut.frame["tpot_ms.mean"].notna())
    return cut.where(cut.frame.groupby(list(of))[along].transform("nunique") > 1)


def what_if(results: Cut) -> Figure | str:
    """TPOT against any number of the config that was swept: a panel each, a line a predictor."""
    numbers = {d: by_number for d in results.others if len(by_number := results.numbers(d)) > 1}
    if not numbers:
        return "needs several values of a number, such as hardware.host_link.gb_s"
    cuts = {}
    for key in numbers:
        cut = results.held((key, "predictor"))
        cut = _lines(cut.where(cut.frame[key] != "none"), key, "predictor")
        if len(cut.frame):
            cuts[key] = cut
    if not cuts:
        return "no predictor was run at several values of a number with all else alike"
    swept, more = list(cuts)[:MAX_PANELS], []
    if len(cuts) > MAX_PANELS:
        more = [f"first {MAX_PANELS} of {len(cuts)} swept keys"]
        cuts = {key: cuts[key] for key in swept}
    predictors, more_lines = limited(results, "predictor", MAX_LINES)
    held = [set(cut.fixed.values()) for cut in cuts.values()]
    common = set.intersection(*held)
    told = [note for note in cuts[swept[0]].fixed.values() if note in common]
    notes = [*told, *more, *more_lines]
    figure, axes = panels(len(swept), "What if: latency against swept values", notes, sharey=True)
    styles = palette(results.values("predictor"))
    for panel, (key, cut) in zip(axes, cuts.items()):
        for predictor in predictors:
            line = cut.frame[cut.frame["predictor"] == predictor]
            at = line[key].map(numbers[key]).sort_values()
            if len(at):
                height = line.loc[at.index, "tpot_ms.mean"]
                panel.plot(at, height, label=predictor, **styles[predictor])
        own = ", ".join(note for note in cut.fixed.values() if note not in common)
        panel.set(xlabel=key.removeprefix("config."), title=fill(own, PANEL_CHARACTERS))
    from_zero(axes)
    for panel in _left(axes):
        panel.set_ylabel("time per output token, ms")
    legend(figure, axes, "predictor")
    return figure


def latency_vs_recall(results: Cut) -> Figure | str:
    """What a better predictor would bring: an oracle degraded to each slot recall.

    Bounds hold for whole runs, so time here is a run's time over its output tokens.
    """
    oracles = results.where(results.frame["recall"].notna()).sampled("recall")
    if not oracles.varies("recall"):
        return "needs an oracle predictor at several values of recall"
    series = next((d for d in ("predictor", "eviction", "capacity") if oracles.varies(d)), None)
    cut = oracles.held(["recall", "hardware", *([series] if series else [])])
    hardware, more = limited(cut, "hardware", MAX_PANELS)
    notes = [*cut.fixed.values(), *more]
    figure, axes = panels(len(hardware), "Latency against predictor recall", notes)
    styles = palette(results.values("predictor"))
    for panel, name in zip(axes, hardware):
        frame = cut.frame[cut.frame["hardware"] == name]
        lines = frame.groupby(series, sort=False) if series else [(None, frame)]
        for i, (value, line) in enumerate(lines):
            label = title_of(series, value) if series else "oracle degraded"
            style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
            if series in (None, "predictor"):
                style = styles[line["predictor"].iloc[0]]
            # Of all that may vary, the clairvoyant bound depends on capacity alone.
            _recall_line(panel, line, label, style, own_bound=series == "capacity")
        if series is None:
            _others(panel, results, frame)
        panel.set(title=name, xlabel="slot recall of the predictor")
    from_zero(axes)
    for panel in _left(axes):
        panel.set_ylabel("run time per output token,\nprefill included, ms")
    legend(figure, axes)
    return figure


def _recall_line(
    panel: Axes, line: pd.DataFrame, label: str, style: dict[str, Any], *, own_bound: bool
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
        name = "all resident" if bound == "compute" else "clairvoyant bound"
        name += f", {label}" if own_bound and bound == "clairvoyant" else ""
        height = line[f"bounds_ms.{bound}"].iloc[0] / tokens
        panel.axhline(height, linestyle=dashes, color=tint, linewidth=1.1, label=name)


def _others(panel: Axes, results: Cut, oracle: pd.DataFrame) -> None:
    """The other predictors under the same conditions, at the recall that they really had."""
    same = results.frame
    for dimension in (d for d in (*results.others, *MAIN) if d not in ("predictor", "recall")):
        same = same[same[dimension] == oracle[dimension].iloc[0]]
    same = same[same["recall"].isna()]
    styles = palette(results.values("predictor"))
    for _, row in same.iterrows():
        name, height = row["predictor"], 1000 / row["tokens_per_s"]
        column = f"predictors.{name}.slot_recall"
        if name == "none":
            panel.axhline(height, color=NONE, linewidth=1.1, label="no prefetch")
        elif column in row and not np.isnan(row[column]):
            style = styles[name] | {"markersize": 8, "linestyle": "none"}
            panel.plot([row[column]], [height], label=f"{name} (its recall)", **style)


def hit_rate_by_layer(results: Cut) -> Figure | str:
    """Hit rate by layer: a line a predictor, a panel an eviction."""
    cut = results.held(("predictor", "eviction"))
    evictions, more = limited(cut, "eviction", MAX_PANELS)
    predictors, more_lines = limited(cut, "predictor", MAX_LINES)
    notes = [*cut.fixed.values(), *more, *more_lines]
    figure, axes = panels(len(evictions), "Hit rate by layer", notes, width=3.6, sharey=True)
    styles = palette(results.values("predictor"))
    for panel, eviction in zip(axes, evictions):
        frame = cut.frame[cut.frame["eviction"] == eviction]
        for i, predictor in enumerate(predictors):
            for by_layer in frame[frame["predictor"] == predictor]["hit_rate.by_layer"]:
                rates = np.array([np.nan if r is None else r for r in by_layer], dtype=float)
                panel.plot(rates, label=predictor, markevery=(i, 6), **styles[predictor])
        panel.set(title=eviction, xlabel="MoE layer", ylim=(-0.03, 1.03))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.yaxis.set_major_formatter(PercentFormatter(1))
    for panel in _left(axes):
        panel.set_ylabel("routed experts found resident")
    legend(figure, axes, "predictor")
    return figure


def _left(axes: list[Axes]) -> list[Axes]:
    """The panels of the first column."""
    return [a for a in axes if (spec := a.get_subplotspec()) is None or spec.is_first_col()]
