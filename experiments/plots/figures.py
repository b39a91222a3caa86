"""The figures by name: each from a sweep's points to a Figure, or to why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.figure import Figure

from prefetch_sim.experiments.plots import bars, curves
from prefetch_sim.experiments.plots.frame import Cut, read
from prefetch_sim.experiments.plots.style import look, remove, save
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.traces.errors import first_line

FIGURES: dict[str, Callable[[Cut], Figure | str]] = {
    "latency_vs_cache": curves.latency_vs_cache,
    "latency_vs_recall": curves.latency_vs_recall,
    "what_if": curves.what_if,
    "stall_breakdown": bars.stall_breakdown,
    "hit_rate_by_layer": curves.hit_rate_by_layer,
    "hardware_comparison": bars.hardware_comparison,
}


def _drawn(draw: Callable[[Cut], Figure | str], results: Cut, folder: Path) -> Figure | str:
    """The figure, or why there is none. Raises ConfigError for columns that hold something else."""
    try:
        return draw(results)
    except KeyError as error:
        return f"the results have no column {error}"
    except (TypeError, ValueError, ArithmeticError) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(
            f"{folder}: its results are damaged, or not those of a sweep ({why})"
        ) from error


def draw_all(folder: Path, out: Path) -> Iterator[tuple[str, str | None]]:
    """Draw the sweep of ``folder`` into ``out``; (name, why it was skipped or None) of each.

    Raises ConfigError where there is nothing to draw, OSError where ``out`` cannot be written.
    """
    results = read(folder)
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        with look():
            figure = _drawn(draw, results, folder)
            if isinstance(figure, Figure):
                save(figure, out / name)
            else:
                remove(out / name)  # an earlier sweep's
        yield name, figure if isinstance(figure, str) else None
