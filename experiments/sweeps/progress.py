"""How far a sweep is, for whoever is at the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from prefetch_sim.experiments.commands.output import console


class Pace:
    """Points a second, and the time left for the others at that pace.

    Of this sitting: what an earlier one finished took no time now. As of the last point, as the
    time since then says nothing yet.
    """

    def __init__(self, left: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._left, self._done = left, 0
        self._clock, self._began = clock, clock()

    def step(self) -> str:
        """One more is done; what to show from now on."""
        self._done += 1
        each = (self._clock() - self._began) / self._done
        rate = f"{1 / each:.2f}" if each else "–"
        left = timedelta(seconds=round((self._left - self._done) * each))
        return f"{rate}/s, {left} left"


@contextmanager
def progress(what: str, total: int, before: int = 0) -> Iterator[Callable[[], None]]:
    """A bar on the terminal, ``before`` of ``total`` done already; yields what advances it."""
    out = console(stderr=True)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}")
    bar = Progress(*columns, console=out, disable=not out.is_terminal, transient=True)
    task = bar.add_task(what, total=total, completed=before, pace="")
    pace = Pace(total - before)
    with bar:
        yield lambda: bar.update(task, advance=1, pace=pace.step())
