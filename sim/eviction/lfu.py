"""Least frequently used, counted while in the cache: an evicted expert starts again at zero.

Ties leave in order of last use.
"""

from __future__ import annotations

from prefetch_sim.sim.eviction.base import State

ORDER = 1 << 40  # above any layer-step number: the count decides, then recency


def inserted(state: State, x: int, now: int) -> int:
    return state.own[x] * ORDER + now


def used(state: State, x: int, now: int, score: int) -> int:
    state.own[x] += 1
    return state.own[x] * ORDER + now


def evicted(state: State, x: int, now: int, score: int) -> None:
    state.own[x] = 0
