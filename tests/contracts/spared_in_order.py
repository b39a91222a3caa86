"""First in, first out, where one that is spared stays where it is in the order."""

from __future__ import annotations

from prefetch_sim.sim.eviction.base import State
from prefetch_sim.sim.eviction.fifo import inserted, used

ASCENDING = True
__all__ = ["inserted", "used"]


def spared(state: State, x: int, now: int, score: int) -> int:
    return score
