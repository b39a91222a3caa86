"""Tokens a second against what is on the GPU, a panel a model."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prefetch_sim.experiments.experts_on_gpu.report import (
    CARDS,
    CHEAPEST,
    COPY,
    CPU,
    MODELS,
    PLACEMENTS,
    POPULAR,
    Results,
)
from prefetch_sim.experiments.plots.style import COLOURS, from_zero, legend, look, panels
from prefetch_sim.sim.config.models import load_model

_COLOURS = dict(zip(CARDS, COLOURS))
_MARKERS = {POPULAR: "^", COPY: "s", CPU: "P", CHEAPEST: "X"}


def draw(results: Results, folder: Path) -> None:
    """``layers.png``."""
    with look():
        figure, axes = panels(
            len(MODELS),
            "How many experts on the GPU, and which",
            [
                "decode, batch 1, 8,192 tokens of KV cache",
                "lines: whole layers, llama.cpp, the rest on the CPU",
                "markers: as much as fits, placed otherwise; LRU with imp",
                "synthetic routing",
            ],
            width=4.0,
            height=4.0,
        )
        for panel, model in zip(axes, MODELS):
            _panel(panel, results, model)
        axes[0].set_ylabel("tokens/s")
        for name, marker in _MARKERS.items():
            axes[0].plot([], [], marker, color="#333333", label=PLACEMENTS[name], markersize=6)
        from_zero(axes)
        legend(figure, axes)
        figure.savefig(folder / "layers.png", dpi=140)


def _panel(panel: Axes, results: Results, model: str) -> None:
    layers = load_model(model).layers
    for card, name in CARDS.items():
        colour = _COLOURS[card]
        speeds = results.by_layers(model, card)
        panel.plot(speeds.index, speeds, "o-", color=colour, label=name, markersize=3)
        fit = results.fit(model, card)
        if fit.layers == layers:
            continue
        for placement, marker in _MARKERS.items():
            panel.plot(fit.room, fit.speed[placement], marker, color=colour, markersize=6)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.set_xlabel(f"layers' experts on the GPU, of {layers}")
    panel.set_title(MODELS[model])
