"""What Ctrl-C does, for a while."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_interrupt(handler: Any) -> Iterator[None]:
    """Ctrl-C is handled by ``handler``, as ``signal.signal`` takes it."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def nothing_to_keep() -> Iterator[None]:
    """Ctrl-C just ends the process: an exception would get lost in imports of compiled modules."""
    with on_interrupt(signal.SIG_DFL):
        yield
