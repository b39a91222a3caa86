"""Figures by category: where the time goes, and how machines compare."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from prefetch_sim.experiments.plots.curves import MAX_LINES, MAX_PANELS, limited
from prefetch_sim.experiments.plots.frame import Cut
from prefetch_sim.experiments.plots.style import PARTS, legend, palette, panels, wrapped

MAX_BARS = 16


def stall_breakdown(results: Cut) -> Figure | str:
    """Where a token's time goes: a bar a predictor and eviction, a panel a machine."""
    cut = results.held(("predictor", "eviction", "hardware"))
    if len(cut.values("predictor")) * len(cut.values("eviction")) > MAX_BARS:
        cut = cut.held(("predictor", "hardware"))
    hardware, more = limited(cut, "hardware", MAX_PANELS)
    frame = cut.frame.assign(bar=cut.frame["predictor"])
    if cut.varies("eviction"):
        frame["bar"] = frame["predictor"] + ", " + frame["eviction"]
    places = {eviction: i for i, eviction in enumerate(cut.values("eviction"))}
    frame["bar"] = frame["bar"].map(wrapped)
    names = list(
        frame.sort_values("eviction", key=lambda e: e.map(places), kind="stable")["bar"].unique()
    )
    height = 0.22 * len(names) + 1.2
    figure, axes = panels(
        len(hardware),
        "Where the time goes",
        [*cut.fixed.values(), *more],
        height=height,
        sharey=True,
    )
    for panel, machine in zip(axes, hardware):
        rows = frame[frame["hardware"] == machine].set_index("bar")
        rows = rows.reindex(names)
        tokens = rows["tokens_per_s"] * rows["total_ms"] / 1000
        left = np.zeros(len(names))
        for part, colour in PARTS.items():
            own = part in ("compute", "runtime")
            key = f"{part}_ms" if own else f"stall_ms.{part.replace(' ', '_')}"
            if part == "runtime" and not frame[key].any():
                continue  # the ideal one
            width = (rows[key] / tokens).fillna(0).to_numpy()
            panel.barh(names, width, left=left, color=colour, label=part, height=0.7)
            left += width
        panel.set(title=machine, xlabel="ms per output token, prefill included")
        panel.set_xlim(0, 1.03 * left.max())
        panel.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    legend(figure, axes)
    return figure


def hardware_comparison(results: Cut) -> Figure | str:
    """TPOT by machine and predictor, on a log axis as machines differ by orders of magnitude."""
    if not results.varies("hardware"):
        return "needs several values of hardware"
    cut = results.held(("hardware", "predictor"))
    if not cut.varies("hardware"):
        return "no predictor was run on several machines"
    predictors, more = limited(cut, "predictor", MAX_LINES)
    medians = cut.frame.groupby("hardware")["tpot_ms.mean"].median().sort_values()
    machines = list(medians.index)
    figure, axes = panels(
        1,
        "Hardware compared",
        [*cut.fixed.values(), *more],
        width=6,
        height=0.4 * len(machines) + 1.2,
    )
    panel = axes[0]
    styles = palette(results.values("predictor"))
    spread = np.linspace(-0.25, 0.25, len(predictors)) if len(predictors) > 1 else [0.0]
    for predictor, offset in zip(predictors, spread):
        rows = cut.frame[cut.frame["predictor"] == predictor]
        places = [machines.index(machine) + offset for machine in rows["hardware"]]
        style = styles[predictor] | {"linestyle": "none"}
        panel.plot(rows["tpot_ms.mean"], places, label=predictor, **style)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_yticks(range(len(machines)), machines)
    panel.set(xlabel="time per output token, ms (log)", ylim=(len(machines) - 0.5, -0.5))
    panel.grid(axis="y", visible=False)
    for border in np.arange(0.5, len(machines) - 1):
        panel.axhline(border, color="#DDDDDD", linewidth=0.6)
    legend(figure, axes, "predictor")
    return figure
