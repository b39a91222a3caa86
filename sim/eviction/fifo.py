"""First in, first out: the expert that arrived first, however often it is used."""

from __future__ import annotations

from prefetch_sim.sim.eviction.base import FIRST, State

ASCENDING = True


def inserted(state: State, x: int, now: int) -> int:
    state.shared[FIRST] += 1  # arrivals so far
    return state.shared[FIRST]


def used(state: State, x: int, now: int, score: int) -> int:
    return score
