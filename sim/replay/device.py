"""A real device is a few engines, each of which does its work in order, and a thread that decides.

An engine is a thread that computes, copies or reads (``host``), or a stream of a GPU (``cuda``).
What is asked of one comes back as a mark once it is through. All that is decided is decided on
the thread that calls ``RealDevice.next``, when it sees a mark.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.engine.load import Load

Work = Callable[[], None]


class ReplayError(ConfigError):
    """A replay cannot go on. One line: what failed, and where."""


class Clock:
    """Nanoseconds since it was made, or last told to restart."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._begun = time.perf_counter_ns()

    def __call__(self) -> int:
        return time.perf_counter_ns() - self._begun


class Mark:
    """Something asked of an engine. ``start`` and ``end``, ns, are -1 until the engine knows them.

    ``then(now)`` is called when the deciding thread sees that it is through, after ``also``, which
    an engine needs of another one's work.
    """

    __slots__ = ("also", "computes", "end", "error", "event", "seen", "start", "then", "what")

    def __init__(self, what: str, then: Callable[[int], None] | None = None) -> None:
        self.what, self.then = what, then
        self.start = self.end = -1
        self.seen = self.computes = False
        self.error: BaseException | None = None
        self.event: Any = None  # of a stream, recorded behind it
        self.also: list[Work] = []


class Stage(Protocol):
    """One part of the load path; ``log`` hears of each move: stage, load, start, end."""

    name: str
    log: Callable[[str, Load, int, int], None] | None


class Engine(Protocol):
    """Does its work in order."""

    def put(self, work: Work, mark: Mark, after: Sequence[Mark] = ()) -> None:
        """Do ``work`` once ``after`` is through on other engines. Returns at once."""

    def close(self) -> None:
        """End, with what it has begun; what only waits is not done."""


class RealDevice:
    """Has an engine that computes and one beside it for predictors, and waits for all of them.

    ``wait()`` returns the next mark that is through, on whatever engine. ``looks``: whether what
    lands is looked at when it does. ``ahead``: how many copies into the cache are asked of an
    engine at once.
    """

    looks = True
    ahead = 1

    def __init__(
        self, compute: Engine, side: Engine, clock: Clock, wait: Callable[[], Mark]
    ) -> None:
        self._compute, self._side, self._wait, self._clock = compute, side, wait, clock
        self.on_compute: Callable[[int, int, str], None] | None = None  # start, duration, what
        self.stages: Sequence[Stage] = ()

    @property
    def now(self) -> int:
        return self._clock()

    def begin(self) -> None:
        """All is in place: time runs from now on."""
        self._clock.restart()

    def compute(
        self,
        what: str,
        work: Work,
        then: Callable[[int], None] | None = None,
        after: Sequence[Mark] = (),
    ) -> Mark:
        """Do ``work`` on the compute engine, after all that it was asked for before."""
        mark = Mark(what, then)
        mark.computes = True
        self._compute.put(work, mark, after)
        return mark

    def beside(self, what: str, work: Work, then: Callable[[int], None], after: Mark) -> Mark:
        """Do ``work`` on the side engine, once ``after`` is through on the compute engine."""
        mark = Mark(what, then)
        self._side.put(work, mark, (after,))
        return mark

    def next(self) -> None:
        """Wait for something to be through, and let what follows from it happen.

        Raises ReplayError where an engine failed.
        """
        mark = self._wait()
        if mark.error is not None:
            raise failed(mark) from mark.error
        mark.seen = True
        also, mark.also = mark.also, []
        for work in also:
            work()
        if mark.computes and self.on_compute is not None:
            self.on_compute(mark.start, mark.end - mark.start, mark.what)
        then, mark.then = mark.then, None  # it may hold the mark: in a circle nothing is freed
        if then is not None:
            then(self.now)

    def until(self, mark: Mark) -> None:
        """Let happen what happens until ``mark`` is through."""
        while not mark.seen:
            self.next()


def failed(mark: Mark) -> ReplayError:
    """What to raise for a mark with an error."""
    error = mark.error
    if isinstance(error, ReplayError):
        return error
    text = " ".join(str(error).split()) or type(error).__name__
    return ReplayError(f"{mark.what}: {text}")
