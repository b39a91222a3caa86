"""``prefetch-sim plot``: a sweep's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.interrupts import nothing_to_keep


def plot(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A finished sweep.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the figures go.", show_default="DIR/figures"),
    ] = None,
) -> None:
    """Draw every figure that a sweep's axes allow, as PNG and SVG."""
    from experiments.commands.output import console

    with nothing_to_keep():
        from experiments.plots.figures import draw_all

    target = out or folder / "figures"
    for name, skipped in draw_all(folder, target):
        line = f"{name}: skipped, {skipped}" if skipped else f"{target / name}.png, .svg"
        console().print(line, markup=False, soft_wrap=True)
