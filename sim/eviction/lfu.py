"""Least frequently used, counted while in the cache: an evicted expert starts again at zero.

Ties leave in order of last use.
"""

from __future__ import annotations

from typing import Any

State = tuple[list[int]]
ORDER = 1 << 40  # above any layer-step number: the count decides, then recency


def new_state(experts: int, layers: int, seed: int, future: Any) -> State:
    return ([0] * experts,)


def inserted(state: State, x: int, now: int) -> int:
    return state[0][x] * ORDER + now


def used(state: State, x: int, now: int, score: int) -> int:
    state[0][x] += 1
    return state[0][x] * ORDER + now


def evicted(state: State, x: int, now: int, score: int) -> None:
    state[0][x] = 0
