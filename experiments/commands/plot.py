"""``prefetch-sim plot``: figures of a sweep, or of a trace."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from prefetch_sim.experiments.commands.run import place
from prefetch_sim.experiments.interrupts import nothing_to_keep

_GLYPH = re.compile(r"Glyph (\d+) ")  # how matplotlib calls a letter that a font has not


def plot(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A finished sweep, or its results.csv or .parquet."),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(metavar="TRACE", help="Or a trace: a file, or a bundled one's name."),
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="One figure of your own: the axis along x."),
    ] = None,
    y: Annotated[
        str | None,
        typer.Option(
            metavar="MEASURE",
            help="What it shows, a column of results.csv.",
            show_default="tpot_ms",
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="Axis shown as colour (heat: up the side), columns, rows; repeat."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH=VALUE", help="Only these points; repeat."),
    ] = None,
    kind: Annotated[str | None, typer.Option(metavar="lines|heat", help="How it is drawn.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW", help="What a value, an axis or the measure is called; repeat."
        ),
    ] = None,
    no_caption: Annotated[
        bool, typer.Option("--no-caption", help="Leave it off the figure; it is printed.")
    ] = False,
    size: Annotated[
        str, typer.Option(metavar="paper|slide", help="For a column or a page of text, or a slide.")
    ] = "paper",
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="png|svg|pdf", help="What is written.", show_default="png and svg"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="PATH",
            help="Folder for the figures, or the file of one; of a trace ./NAME-figures.",
            show_default="DIR/figures",
        ),
    ] = None,
) -> None:
    """Draw every figure that a sweep's axes, or a trace's columns, allow; or one by --x and --y."""
    from prefetch_sim.experiments.output import check_folder
    from prefetch_sim.sim.config.errors import ConfigError

    if (folder is None) == (trace is None):
        raise ConfigError("plot: give either a sweep's folder or --trace")
    own = any((x, y, by, kind))
    with _letters():
        if trace is not None:
            if own or where or form or label or no_caption or size != "paper":
                raise ConfigError(
                    "plot --trace: takes no option but --out; the others are of a sweep"
                )
            _of_trace(trace, out)
            return
        assert folder is not None
        with nothing_to_keep():
            from prefetch_sim.experiments.plots import figures, labels
            from prefetch_sim.experiments.plots.own import draw

        look = size, labels.pairs(label or ()), not no_caption
        if not own:
            made = [figures.format_of(form, None)] if form else ["png", "svg"]
            check_folder("--out", target := out or _beside(folder))
            _tell(target, figures.draw_all(folder, target, made, where or (), *look), made)
            return
        ending = figures.format_of(form, _file(out))
        figure = draw(folder, x, y or "tpot_ms", by or (), where or (), kind, *look)
        path = _file(out)
        if path is None:
            check_folder("--out", target := out or _beside(folder))
            path = target / f"{figure.name}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
        _write(figure, path, folder)


def _of_trace(trace: str, out: Path | None) -> None:
    """Draw what a trace's columns allow."""
    from prefetch_sim.experiments.output import check_folder

    with nothing_to_keep():
        from prefetch_sim.experiments.plots.trace_figures import draw_trace
        from prefetch_sim.sim.setup.traces import trace_path
        from prefetch_sim.traces.format import read_trace

    check_folder("--out", target := out or Path(f"{Path(trace).stem}-figures"))
    _tell(target, draw_trace(read_trace(trace_path(trace)), target), ["png", "svg"])


@contextmanager
def _letters() -> Iterator[None]:
    """Tells what letters the figures' font has not: matplotlib warns of each, again and again."""
    import warnings

    from prefetch_sim.experiments.output import say

    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "Glyph ", UserWarning)
        yield
    lacking: dict[str, None] = {}
    for one in caught:
        if found := _GLYPH.match(str(one.message)):
            lacking[chr(int(found[1]))] = None
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if lacking:
        say(f"warning: the figures' font has no {' '.join(lacking)}; a box stands for each")


def _beside(folder: Path) -> Path:
    return (folder.parent if folder.is_file() else folder) / "figures"


def _file(out: Path | None) -> Path | None:
    """``out`` where it names a file, and no folder."""
    return out if out is not None and out.suffix and not out.is_dir() else None


def _write(figure: object, path: Path, *read: Path) -> None:
    from prefetch_sim.experiments.output import check_target, console
    from prefetch_sim.experiments.plots.figures import save
    from prefetch_sim.experiments.plots.sheet import Sheet

    assert isinstance(figure, Sheet)
    check_target("--out", path, *read)
    save(figure, path)
    console().print(str(path), markup=False, soft_wrap=True)
    console().print(figure.caption, markup=False, soft_wrap=True)


def _tell(target: Path, drawn: Iterable[tuple[str, str | None]], made: list[str]) -> None:
    from prefetch_sim.experiments.output import console

    endings = ", ".join(f".{ending}" for ending in made)
    for name, skipped in drawn:
        line = f"{name}: skipped, {skipped}" if skipped else f"{target / name}{endings}"
        console().print(line, markup=False, soft_wrap=True)
