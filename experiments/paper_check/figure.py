"""One figure: where a token's time goes, by predictor, against the paper's arithmetic."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from prefetch_sim.experiments.paper_check.paper import EXACT, TIMINGS, miss_ms
from prefetch_sim.experiments.paper_check.report import MOE_LAYERS, SHORT, Results
from prefetch_sim.experiments.plots.style import PARTS, legend, look, panels

PREDICTORS = ("none", "perfect", "arch1", "half", "next-layer", "next-layer-perfect")
_COLUMNS = {
    "compute": "compute_ms",
    "demand miss": "stall_demand_miss_ms",
    "late prefetch": "stall_late_prefetch_ms",
    "queueing": "stall_queueing_ms",
}
_CLAIMS = {"arch1": EXACT["Arch 1"], "next-layer": EXACT["Fate"]}


def draw(results: Results, path: Path) -> None:
    """Eager above, fused below, a column a device; saved as ``path`` (PNG)."""
    with look():
        figure, axes = panels(
            2 * len(SHORT),
            "DeepSeek-V2-Lite, experts in pinned memory, almost nothing cached",
            ["synthetic routing", "batch 1", "26 MoE layers", "64 of 1664 experts fit"],
            width=3.3,
        )
        for row, runtime in enumerate(("eager", "fused")):
            for column, device in enumerate(SHORT):
                panel = axes[row * len(SHORT) + column]
                _panel(panel, results, device, runtime)
                panel.set_title(f"{SHORT[device]}, {runtime}")
            axes[row * len(SHORT)].set_ylabel("time per output token, ms")
        legend(figure, axes)
        figure.savefig(path, dpi=140)


def _panel(panel: Axes, results: Results, device: str, runtime: str) -> None:
    runs = [results.run(device, runtime, name) for name in PREDICTORS]
    bottom = [0.0] * len(runs)
    for part, column in _COLUMNS.items():
        heights = [float(run[column]) for run in runs]
        panel.bar(PREDICTORS, heights, bottom=bottom, color=PARTS[part], label=part, width=0.7)
        bottom = [b + h for b, h in zip(bottom, heights)]
    load = TIMINGS[device].pinned
    for layers, colour, label in (
        (1, "black", "compute + miss rate × load, as in the paper"),
        (MOE_LAYERS, "#CC0000", "the same in each of 26 layers"),
    ):
        for name, accuracy in _CLAIMS.items():
            at = PREDICTORS.index(name)
            claim = float(runs[at]["compute_ms"]) + layers * miss_ms(accuracy, load)
            panel.hlines(claim, at - 0.45, at + 0.45, colors=colour, label=label)
    panel.set_ylim(0, None)
    panel.tick_params(axis="x", rotation=35)
    for tick in panel.get_xticklabels():
        tick.set_horizontalalignment("right")
    panel.grid(visible=False, axis="x")
