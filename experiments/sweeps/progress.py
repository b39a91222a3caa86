"""How far a sweep is: a bar on the terminal, a line every few seconds in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from prefetch_sim.experiments.heartbeat import Heartbeat, beating
from prefetch_sim.experiments.output import console, say


class Pace:
    """Points a second, and the time left for the others at that pace.

    Of this sitting: what an earlier one finished took no time now. As of the last point, as the
    time since then says nothing yet.
    """

    def __init__(self, left: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._left, self.done = left, 0
        self._clock, self._began = clock, clock()

    def step(self) -> str:
        """One more is done; what to show from now on."""
        self.done += 1
        each = (self._clock() - self._began) / self.done
        rate = f"{1 / each:.2f}" if each else "–"
        left = timedelta(seconds=round((self._left - self.done) * each))
        return f"{rate}/s, {left} left"


class Log:
    """The lines of a log: how many are done, at which pace; of none, ``note`` says why."""

    def __init__(
        self,
        what: str,
        total: int,
        before: int,
        note: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._before, self._note = what, total, before, note
        self._pace = Pace(total - before, clock)
        self._told = ""

    def step(self) -> None:
        self._told = f", {self._pace.step()}"

    def line(self, seconds: float) -> str:
        done = self._before + self._pace.done
        told = self._told or f" after {seconds:.0f} s{self._note()}"
        return f"{self._what}: {done:,} of {self._total:,}{told}"


@contextmanager
def progress(
    what: str, total: int, before: int = 0, note: Callable[[], str] = lambda: ""
) -> Iterator[Callable[[], None]]:
    """Shows ``before`` of ``total`` done already; yields what advances it.

    ``note``: what to add until the first is done.
    """
    out = console(stderr=True)
    if not out.is_terminal:
        log = Log(what, total, before, note)
        with beating(Heartbeat(log.line, say)):
            yield log.step
        return
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}")
    bar = Progress(*columns, console=out, transient=True)
    task = bar.add_task(what, total=total, completed=before, pace=note().removeprefix(", "))
    pace = Pace(total - before)
    with bar:
        yield lambda: bar.update(task, advance=1, pace=pace.step())
