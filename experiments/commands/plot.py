"""``prefetch-sim plot``: figures of a sweep, or of a trace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from prefetch_sim.experiments.interrupts import nothing_to_keep


def plot(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A finished sweep.")
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(metavar="TRACE", help="Or a trace: a file, or a bundled one's name."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where the figures go; of a trace ./NAME-figures.",
            show_default="DIR/figures",
        ),
    ] = None,
) -> None:
    """Draw every figure that a sweep's axes, or a trace's columns, allow, as PNG and SVG."""
    from prefetch_sim.sim.config.errors import ConfigError

    if (folder is None) == (trace is None):
        raise ConfigError("plot: give either a sweep's folder or --trace")
    if folder is not None:
        with nothing_to_keep():
            from prefetch_sim.experiments.plots.figures import draw_all

        target = out or folder / "figures"
        _tell(target, draw_all(folder, target))
    elif trace is not None:
        with nothing_to_keep():
            from prefetch_sim.experiments.plots.trace_figures import draw_trace
            from prefetch_sim.sim.setup.traces import trace_path
            from prefetch_sim.traces.format import read_trace

        target = out or Path(f"{Path(trace).stem}-figures")
        _tell(target, draw_trace(read_trace(trace_path(trace)), target))


def _tell(target: Path, drawn: Iterable[tuple[str, str | None]]) -> None:
    from prefetch_sim.experiments.commands.output import console

    for name, skipped in drawn:
        line = f"{name}: skipped, {skipped}" if skipped else f"{target / name}.png, .svg"
        console().print(line, markup=False, soft_wrap=True)
