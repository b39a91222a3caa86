"""Belady's MIN over atomic sets: the expert whose next use is furthest in the future.

Optimal in misses where experts are of equal size (Belady 1966). It reads the trace's future, so
it bounds what any eviction can do; no device can run it.
"""

from __future__ import annotations

from prefetch_sim.sim.eviction.base import NEVER, State
from prefetch_sim.sim.workload.future import Future

LOOKS_AHEAD = True


def next_use(future: Future, x: int, at: int) -> int:
    """First use of ``x`` at or after layer-step ``at``; NEVER where there is none."""
    p, end = future.cursor[x], future.start[x + 1]
    while p < end and future.positions[p] < at:
        p += 1
    future.cursor[x] = p
    return int(future.positions[p]) if p < end else NEVER


def inserted(state: State, x: int, now: int) -> int:
    return -next_use(state.future, x, now)


def used(state: State, x: int, now: int, score: int) -> int:
    return -next_use(state.future, x, now + 1)
