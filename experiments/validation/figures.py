"""Figures of a validation: predicted against measured, and one token of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from prefetch_sim.experiments.plots import style
from prefetch_sim.experiments.validation.runs import Run
from prefetch_sim.experiments.validation.tables import Tables
from prefetch_sim.sim.engine.load import DEMAND, ORIGINS
from prefetch_sim.sim.results.metrics import latencies
from prefetch_sim.sim.workload.step_table import StepTable

MS = 1e6
_DPI = 100  # small files, as they are committed


def predicted(tables: Tables, title: str, folder: Path) -> None:
    """Mean TPOT of each point, with the range of its repeats, against its simulation."""
    points = tables.points
    way = points["hardware"].tolist() if "hardware" in points else [""] * len(points)
    ways = list(dict.fromkeys(way))
    labels = points["predictor"].tolist() if "predictor" in points else ["all"] * len(points)
    styles = style.palette(list(dict.fromkeys(labels)))
    with style.look():
        notes = ["bars: least and most of the repeats", "dashed: 10 % off"]
        figure, panels = style.panels(len(ways), f"Mean TPOT, {title}", notes)
        for panel, name in zip(panels, ways):
            some = points[[other == name for other in way]]
            for label in dict.fromkeys(labels):
                row = some[[str(x) == label for x in some.get("predictor", labels[: len(some)])]]
                if not len(row):
                    continue
                real = row["measured_ms"]
                bars = np.array([real - row["least_ms"], row["most_ms"] - real])
                look = {k: v for k, v in styles[label].items() if k in ("color", "marker")}
                panel.errorbar(
                    row["simulated_ms"], real, yerr=bars, linestyle="", label=label, **look
                )
            most = 1.08 * float(max(some["most_ms"].max(), some["simulated_ms"].max()))
            for factor, dash in ((1.0, "-"), (1 / 0.9, "--"), (1 / 1.1, "--")):
                panel.plot([0, most], [0, most * factor], dash, color="#BBBBBB", zorder=0, lw=0.8)
            panel.set(xlim=(0, most), ylim=(0, most), xlabel="simulated, ms", ylabel="measured, ms")
            panel.set_title(name)
        style.legend(figure, panels, "predictor")
        figure.savefig(folder / "predicted.png", dpi=_DPI)


def token(title: str, table: StepTable, ours: Run, real: list[Run], folder: Path) -> None:
    """The decode step of median length of the middle run, measured over simulated."""
    middle = sorted(real, key=lambda run: float(latencies(table, run.steps)[0].mean()))
    run = middle[len(middle) // 2]
    starts, ends = run.steps.column("start"), run.steps.column("end")
    decode = np.flatnonzero(run.steps.column("prefill") == 0)
    lengths = (ends - starts)[decode]
    step = int(decode[np.argsort(lengths, kind="stable")[len(lengths) // 2]])
    with style.look():
        notes = [title, f"step {step}", "waits are drawn at the end of their layer"]
        figure, panels = style.panels(
            2, "One token, measured over simulated", notes, width=7, height=2.2, columns=1
        )
        panels[1].sharex(panels[0])
        for panel, name, one in zip(panels, ("measured", "simulated"), (run, ours)):
            _token(panel, one, step)
            panel.set_title(name)
        panels[1].set_xlabel("ms since the step began")
        style.legend(figure, panels)
        figure.savefig(folder / "token.png", dpi=_DPI)


def _token(panel: Axes, run: Run, step: int) -> None:
    """Lanes: the compute engine, and below it loads side by side, as many as overlap."""
    begins = int(run.steps.column("start")[step])
    ends = int(run.steps.column("end")[step])
    rows = run.layers.column("step") == step
    start, routed, end = (run.layers.column(name)[rows] for name in ("start", "routed", "end"))
    waits = sum(run.layers.column(n)[rows] for n in run.layers.times if n.startswith("stall"))
    _bars(panel, 0, start - begins, routed - begins, "attention, gate", "#0072B2")
    _bars(panel, 0, routed - begins, end - waits - begins, "experts", "#56B4E9")
    _bars(panel, 0, end - waits - begins, end - begins, "waits", "#DDDDDD")
    loads = run.loads
    began, landed = loads.column("started"), loads.column("landed")
    there = np.flatnonzero((began >= 0) & (landed > begins) & (began < ends))
    free: list[int] = []
    colours = dict(zip(ORIGINS, ("#D55E00", "#009E73", "#E69F00")))
    for i in there[np.argsort(began[there], kind="stable")].tolist():
        lane = next((n for n, until in enumerate(free) if until <= began[i]), len(free))
        free[lane : lane + 1] = [int(landed[i])]
        late = loads.column("needed")[i] >= 0 and loads.column("needed")[i] < landed[i]
        origin = ORIGINS[int(loads.column("origin")[i])]
        label = origin if origin == ORIGINS[DEMAND] or not late else f"{origin}, late"
        left, right = max(int(began[i]), begins), min(int(landed[i]), ends)
        here = np.array([left - begins]), np.array([right - begins])
        _bars(panel, lane + 1, *here, label, "#E69F00" if "late" in label else colours[origin])
    panel.set(ylim=(len(free) + 0.6, -0.6), yticks=[0, 1], yticklabels=["compute", "loads"])
    panel.grid(visible=False, axis="y")


def _bars(
    panel: Axes, lane: int, left: np.ndarray, right: np.ndarray, label: str, colour: str
) -> None:
    spans = [(a / MS, (b - a) / MS) for a, b in zip(left.tolist(), right.tolist()) if b > a]
    panel.broken_barh(spans, (lane - 0.4, 0.8), color=colour, label=label, edgecolor="none")
