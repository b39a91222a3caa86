"""The clock is SimPy's, in integer nanoseconds, with a fixed order of what happens at one instant.

First what lands, then predictions that come out, then the forward pass: whoever looks at an
instant sees all that arrived by then. Within a kind: in the order in which they were set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import simpy

LANDS, PREDICTS, PASSES = range(3)

Callback = Callable[[Any], None]


class Alarm(simpy.Event):  # type: ignore[misc]
    """An event that is set again and again; a new one each time would cost as much as its use."""

    def __init__(self, env: simpy.Environment, order: int) -> None:
        super().__init__(env)
        self._order = order
        self._ok, self._value = True, None

    def set(self, delay: int) -> None:
        """Ring in ``delay`` ns. It must have rung since it was last set."""
        self.env.schedule(self, self._order, delay)
