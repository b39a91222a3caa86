"""Where text goes: consoles that do not cut tables short when nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prefetch_sim.experiments.heartbeat import Heartbeat, beating
from prefetch_sim.experiments.text import count, escaped

PIPED_WIDTH = 160  # columns of a table that goes to a file or another program


class _AsWritten(Console):
    """Names are shown as they are written: brackets are no markup, and nothing is obeyed."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(escaped(text), **how | {"markup": False, "emoji": False})


def console(stderr: bool = False) -> Console:
    made = _AsWritten(stderr=stderr, highlight=False)
    return (
        made if made.is_terminal else _AsWritten(stderr=stderr, highlight=False, width=PIPED_WIDTH)
    )


def say(text: str) -> None:
    """A line for the person at the terminal, apart from the results on stdout."""
    console(stderr=True).print(text, markup=False, soft_wrap=True)


def conclude(lines: Sequence[str]) -> None:
    """What results mean, below them. In a file a line is one, however long."""
    out = console()
    if lines:
        out.print()
    for line in lines:
        out.print(line, markup=False, soft_wrap=not out.is_terminal)


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Shows that there is no answer yet: on a terminal at once, in a log after some seconds.

    Gives what replaces ``text``.
    """
    out = console(stderr=True)
    if out.is_terminal:
        with out.status(text) as status:
            yield status.update
        return

    def replace(other: str) -> None:
        nonlocal text
        text = other

    with beating(Heartbeat(lambda seconds: f"{text} ({seconds:.0f} s)", say)):
        yield replace


@contextmanager
def progress(what: str, noun: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal, lines in a log; gives ``advance(done, of)``."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    out = console(stderr=True)
    if not out.is_terminal:
        with working(what) as tell:
            yield lambda done, of: tell(f"{what}: {done:,} of {count(of, noun)}")
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(f"{noun}s"))
    with Progress(*columns, TimeRemainingColumn(), console=out) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def engine_note() -> str:
    """What to add while the compiled engine starts: "" once it is on disk."""
    from prefetch_sim.sim.compiled.engine import is_kept

    return "" if is_kept() else ", compiling the engine, once: some 10 s"


@contextmanager
def stopping(tell: Callable[[], str]) -> Iterator[None]:
    """Ctrl-C ends the command with the line that ``tell`` gives: what is kept, and how to go on."""
    import typer

    try:
        yield
    except KeyboardInterrupt:
        say(tell())
        raise typer.Exit(130) from None


@contextmanager
def need_extra(extra: str, *packages: str) -> Iterator[None]:
    """For imports that the base install lacks. Raises ConfigError that says how to get them."""
    from prefetch_sim.sim.config.errors import ConfigError

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in packages:
            raise
        raise ConfigError(f"needs {error.name}: pip install -e '.[{extra}]' in the clone") from None


def grid(*headings: str, title: str | None = None, right: int = 0) -> Table:
    """A plain table whose last ``right`` columns are numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, heading in enumerate(headings):
        number = i >= len(headings) - right
        if number:  # in one piece, whatever the terminal's width
            table.add_column(heading, justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold")
    return table


def check_target(option: str, path: Path, *read: Path, new: bool = False) -> None:
    """Refuse a file that cannot be made, that is one of those ``read``, or that would stand among
    a trace's parts or a model's weights. Raises ConfigError.

    ``new``: any that is there already, as it may be the only copy of a recording.
    """
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.traces.files import taken_by

    if path.is_dir():
        raise ConfigError(f"{option}: {path} is a folder; name a file")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{option}: {path} is no regular file; name one, or a new one")
    if not path.parent.is_dir():
        raise ConfigError(f"{option}: {path.parent} is no folder")
    if path.exists() and any(other.exists() and path.samefile(other) for other in read):
        raise ConfigError(f"{option}: {path} is what is read; name another file")
    if new and path.exists():
        raise ConfigError(f"{option}: {path} exists already; remove it or name another file")
    for folder in {path.parent, path.resolve().parent}:
        if held := taken_by(folder):
            raise ConfigError(f"{option}: {folder} holds {held}; name a file elsewhere")


def check_folder(option: str, path: Path) -> None:
    """Refuse what is there already and no folder, or a trace's or a model's. Raises ConfigError."""
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.traces.files import taken_by

    if path.exists() and not path.is_dir():
        raise ConfigError(f"{option} {path}: is a file, not a folder")
    if held := taken_by(path):
        raise ConfigError(f"{option} {path}: holds {held}; name another folder")
