"""Where copying and the CPU are as fast, and what choosing for each expert adds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from prefetch_sim.experiments.copy_or_cpu.report import (
    ENGINE,
    GPT,
    HIT,
    HITS,
    MODEL,
    QWEN,
    RUNTIME,
    RUNTIMES,
    TYPICAL,
    Results,
    machines,
    place,
    submit,
    surface,
)
from prefetch_sim.experiments.plots.style import COLOURS, MARKERS, legend, look, panels

_HIT_COLOURS = dict(zip(HITS, COLOURS))
_CONDITIONS = ["decode, batch 1", "LRU cache of 20 % of the experts", "synthetic routing"]
_LINKS = (6, 12, 25, 50)
_RATES = (15, 25, 50, 100, 200, 400)
_SUBMIT_ON = "rtx-4090"


def draw(results: Results, folder: Path) -> None:
    """``turn.png`` and ``cheapest.png``."""
    with look():
        _turn(results, folder / "turn.png")
        _cheapest(results, folder / "cheapest.png")


def _turn(results: Results, path: Path) -> None:
    figure, axes = panels(
        2,
        "Copy a missing expert, or compute it on the CPU? Lines: as fast either way",
        ["Qwen3-30B-A3B Q4_K_M unless said", *_CONDITIONS, "machines by their rates alone"],
        width=4.6,
        height=4.6,
        sharey=True,
    )
    for panel, runtime in zip(axes, RUNTIMES):
        for hit in HITS:
            _line(panel, results, QWEN, runtime, hit, "cpu", "-")
            _line(panel, results, QWEN, runtime, hit, "keep", "--")
        if runtime == ENGINE:
            _line(panel, results, GPT, runtime, TYPICAL, "cpu", ":")
        _machine_points(panel, list(machines(results, runtime, TYPICAL).index))
        panel.set(xscale="log", yscale="log", xlim=(5.5, 75), ylim=(15, 400))
        panel.set_xlabel("host link, GB/s")
        panel.set_title(f"runtime {RUNTIMES[runtime]}")
        _ticks(panel)
        panel.text(6, 330, "compute on the CPU", size=8, style="italic", color="#555555")
        panel.text(70, 17, "copy", size=8, style="italic", color="#555555", ha="right")
    axes[0].set_ylabel("experts on the CPU, GB/s")
    for hit, colour in _HIT_COLOURS.items():
        axes[0].plot([], [], color=colour, label=f"{float(hit):.0%} hits")
    for style, label in (
        ("-", "the CPU's better way: cache as the prompt left it, or loads behind"),
        ("--", "cache as the prompt left it: nothing is copied in decode"),
        (":", "gpt-oss-120b, MXFP4, the CPU's better way"),
    ):
        axes[0].plot([], [], color="#333333", linestyle=style, label=label)
    axes[0].plot([], [], "k.", markersize=5, label="a machine of the catalogue with its own CPU")
    legend(figure, axes)
    figure.savefig(path, dpi=140)


def _line(
    panel: Axes, results: Results, model: str, runtime: str, hit: str, side: str, style: str
) -> None:
    of = surface(results, model, runtime, hit, side)
    x, y = of.columns.to_numpy(dtype=float), of.index.to_numpy(dtype=float)
    panel.contour(
        x, y, np.log(of.to_numpy()), [0.0], colors=[_HIT_COLOURS[hit]], linestyles=[style],
        linewidths=1.6 if style == "-" else 1.2,
    )  # fmt: skip


def _machine_points(panel: Axes, names: list[str]) -> None:
    """Those at one place share a label, a line each."""
    at: dict[tuple[float, float], list[str]] = {}
    for name in sorted(names):
        link, cpu = place(name)
        near = next((p for p in at if _near(p, (link, cpu))), None)
        at.setdefault(near or (link, cpu), []).append(name)
        panel.plot(link, cpu, "k.", markersize=5)
    for (link, cpu), group in at.items():
        right = link < 40
        points = [place(name)[0] for name in group]
        edge = max(points) if right else min(points)
        panel.annotate(
            "\n".join(group), (edge, cpu), (4 if right else -4, 0), textcoords="offset points",
            size=5.5, ha="left" if right else "right", va="center", linespacing=0.95,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )  # fmt: skip


def _near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(np.log(a / b)) < 0.13 for a, b in zip(one, other))


def _ticks(panel: Axes) -> None:
    for axis, values in ((panel.xaxis, _LINKS), (panel.yaxis, _RATES)):
        axis.set_major_locator(FixedLocator(values))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


def _cheapest(results: Results, path: Path) -> None:
    figure, axes = panels(
        3,
        "What `cheapest` gains over the better of copying and the CPU",
        ["Qwen3-30B-A3B Q4_K_M", *_CONDITIONS, f"right: {_SUBMIT_ON}, runtime imp, 75 % hits"],
        width=3.5,
        height=3.4,
    )
    for panel, runtime in zip(axes, RUNTIMES):
        _gains(panel, results, runtime)
        panel.set_title(f"every link and CPU, runtime {RUNTIMES[runtime]}")
    chosen = submit(results, _SUBMIT_ON, "grouped", TYPICAL)
    last = axes[2]
    for (side, label), colour, marker in zip(
        (("copy", "copy"), ("cpu", "CPU"), ("cheapest", "cheapest")), COLOURS[3:], MARKERS[3:]
    ):
        last.plot(chosen.index, 1000 / chosen[side], color=colour, marker=marker, label=label)
    last.set_ylim(0, None)
    last.set(xlabel="handing over to the CPU, µs (cpu.submit_us)", ylabel="tokens/s")
    last.set_title("what handing over costs")
    axes[0].set_ylabel("gain in speed, %")
    handles, labels = last.get_legend_handles_labels()
    for hit, colour in _HIT_COLOURS.items():
        handles.append(Line2D([], [], color=colour, marker="o", linestyle="", markersize=4))
        labels.append(f"{float(hit):.0%} hits")
    figure.legend(handles, labels, loc="outside right upper", alignment="left", fontsize=8)
    figure.savefig(path, dpi=140)


def _gains(panel: Axes, results: Results, runtime: str) -> None:
    frame = results.plane
    for hit, colour in _HIT_COLOURS.items():
        chosen = frame[(frame[MODEL] == QWEN) & (frame[RUNTIME] == runtime) & (frame[HIT] == hit)]
        panel.scatter(chosen["ratio"], 100 * chosen["gain"], s=9, color=colour)
    panel.axhline(0, color="#333333", linewidth=0.8)
    panel.axvline(1, color="#333333", linewidth=0.8)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(FixedLocator((1, 2, 4, 8)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("time of copying / time of the CPU")
