"""The figures by name: each from a sweep's points to a Figure, or to why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from prefetch_sim.experiments.plots import bars, curves
from prefetch_sim.experiments.plots.arrange import Where, chosen
from prefetch_sim.experiments.plots.frame import Cut, read
from prefetch_sim.experiments.plots.labels import labelled
from prefetch_sim.experiments.plots.measures import TPOT
from prefetch_sim.experiments.plots.sheet import Sheet, scale_of
from prefetch_sim.experiments.plots.style import look
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
from prefetch_sim.traces.errors import first_line
from prefetch_sim.traces.files import replacing

FORMATS = ("png", "svg", "pdf")
FIGURES: dict[str, Callable[[Cut, float], Figure | str]] = {
    "latency_vs_cache": curves.latency_vs_cache,
    "latency_vs_recall": curves.latency_vs_recall,
    "what_if": curves.what_if,
    "stall_breakdown": bars.stall_breakdown,
    "hit_rate_by_layer": curves.hit_rate_by_layer,
    "hardware_comparison": bars.hardware_comparison,
}


def _drawn(
    draw: Callable[[Cut, float], Figure | str], results: Cut, scale: float, folder: Path
) -> Figure | str:
    """The figure, or why there is none. Raises ConfigError for columns that hold something else."""
    try:
        return draw(results, scale)
    except ConfigError:
        raise
    except KeyError as error:
        return f"the results have no column {error}"
    except (TypeError, ValueError, ArithmeticError) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(
            f"{folder}: its results are damaged, or not those of a sweep ({why})"
        ) from error


def draw_all(
    folder: Path,
    out: Path,
    formats: Sequence[str] = ("png", "svg"),
    where: Where = (),
    size: str = "paper",
    labels: Mapping[str, str] | None = None,
    caption: bool = True,
) -> Iterator[tuple[str, str | None]]:
    """Draw the sweep of ``folder`` into ``out``; (name, why it was skipped or None) of each.

    ``labels``, ``caption``: as of ``own.draw``. Raises ConfigError where there is nothing to draw,
    OSError where ``out`` cannot be written.
    """
    results, scale = chosen(read(folder), where)[0], scale_of(size)
    results.having(TPOT, results.frame[TPOT])  # what most of them show
    out.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Figure | str] = {}
    with look(scale), labelled(labels or {}):
        for name, draw in FIGURES.items():
            figure = drawn[name] = _drawn(draw, results, scale, folder)
            if isinstance(figure, Sheet) and not caption:
                figure.bare()
    for name, figure in drawn.items():
        for suffix in FORMATS:  # an earlier sweep's goes
            path = out / f"{name}.{suffix}"
            if isinstance(figure, Sheet) and suffix in formats:
                save(figure, path)
            else:
                path.unlink(missing_ok=True)
        yield name, figure if isinstance(figure, str) else None


def save(figure: Figure, path: Path) -> None:
    """Write ``path`` whole, in the format that its name ends with."""
    with replacing(path) as whole:
        figure.savefig(whole, format=path.suffix.removeprefix("."))


def format_of(given: str | None, out: Path | None) -> str:
    """The format asked for, or that of the file's name. Raises ConfigError for another."""
    ending = out.suffix.removeprefix(".").lower() if out is not None else ""
    named = f"--out {out}: {ending!r}" if given is None else f"--format {given!r}"
    given = given or ending or "png"
    if given not in FORMATS:
        raise ConfigError(f"{named} is no format of figures{did_you_mean(given, FORMATS)}")
    if ending in FORMATS and ending != given:
        raise ConfigError(f"--out {out}: ends with {ending}, and --format says {given}")
    return given
