"""Says in a log how far something is: a line every few seconds, and none where it takes no time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 5.0  # seconds before the first line, and between two
_SLOWEST = 60.0  # between two of what takes hours
_LOOK = 0.5


class Heartbeat:
    """Has a line said when one is due; ``told(seconds)`` gives it, ``say`` prints it."""

    def __init__(
        self,
        told: Callable[[float], str],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._told, self._say, self._clock = told, say, clock
        self._began = self._last = clock()

    def beat(self) -> None:
        """Say a line if the last is some seconds old, of a long run up to a minute."""
        now = self._clock()
        running = now - self._began
        if now - self._last >= min(max(EVERY, running / 20), _SLOWEST):
            self._last = now
            self._say(self._told(running))


@contextmanager
def beating(heart: Heartbeat) -> Iterator[None]:
    """``heart`` beats beside what is done within, whatever that waits for."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(_LOOK):
            heart.beat()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
