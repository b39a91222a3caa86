"""The figures by name: each from a sweep's points to a Figure, or to why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.figure import Figure

from prefetch_sim.experiments.plots import bars, curves
from prefetch_sim.experiments.plots.frame import Cut, read
from prefetch_sim.experiments.plots.style import look, remove, save

FIGURES: dict[str, Callable[[Cut], Figure | str]] = {
    "latency_vs_cache": curves.latency_vs_cache,
    "latency_vs_recall": curves.latency_vs_recall,
    "what_if": curves.what_if,
    "stall_breakdown": bars.stall_breakdown,
    "hit_rate_by_layer": curves.hit_rate_by_layer,
    "hardware_comparison": bars.hardware_comparison,
}


def draw_all(folder: Path, out: Path) -> Iterator[tuple[str, str | None]]:
    """Draw the sweep of ``folder`` into ``out``; (name, why it was skipped or None) of each.

    Raises ConfigError where there is nothing to draw, OSError where ``out`` cannot be written.
    """
    results = read(folder)
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        with look():
            figure = draw(results)
            if isinstance(figure, Figure):
                save(figure, out / name)
            else:
                remove(out / name)  # an earlier sweep's
        yield name, figure if isinstance(figure, str) else None
