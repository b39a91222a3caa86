"""Belady's MIN over atomic sets: the expert whose next use is furthest in the future.

Optimal in misses where experts are of equal size (Belady 1966). It reads the trace's future, so
it bounds what any eviction can do; no device can run it.
"""

from __future__ import annotations

from sim.eviction.base import NEVER, Future


def new_state(experts: int, layers: int, seed: int, future: Future | None) -> Future:
    assert future is not None, "belady needs the run's future"
    return future


def next_use(state: Future, x: int, at: int) -> int:
    """First use of ``x`` at or after layer-step ``at``; NEVER where there is none."""
    p, end = state.cursor[x], state.start[x + 1]
    while p < end and state.positions[p] < at:
        p += 1
    state.cursor[x] = p
    return int(state.positions[p]) if p < end else NEVER


def inserted(state: Future, x: int, now: int) -> int:
    return -next_use(state, x, now)


def used(state: Future, x: int, now: int, score: int) -> int:
    return -next_use(state, x, now + 1)


def evicted(state: Future, x: int, now: int, score: int) -> None:
    pass
