"""Least frequently used, counted since the run began: counts survive eviction.

Ties leave in order of last use.
"""

from __future__ import annotations

from sim.eviction.base import State
from sim.eviction.lfu import inserted, used

__all__ = ["evicted", "inserted", "used"]


def evicted(state: State, x: int, now: int, score: int) -> None:
    pass
