"""What Ctrl-C does, for a while."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_interrupt(handler: Any) -> Iterator[None]:
    """Ctrl-C is handled by ``handler``, as ``signal.signal`` takes it.

    In the main thread: no other hears of Ctrl-C, or may say who does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def nothing_to_keep() -> Iterator[None]:
    """Ctrl-C just ends the process: an exception would get lost in imports of compiled modules."""
    with on_interrupt(_end):
        yield


def _end(*_: object) -> None:
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")  # the cursor, which a progress bar hides
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)
