"""Uniformly random among the evictable.

Each resident draws an exponential lifetime on a clock that stands at the last victim's expiry.
Lifetimes are memoryless, so whoever expires first is uniform among the residents, whenever they
arrived; and the cache can keep them in a heap like any other score.
"""

from __future__ import annotations

import math
from typing import Any

from sim.rng import uniform

# (seed, [clock], [draws made]); the clock counts in 2^-20 of a mean lifetime.
State = tuple[list[int], list[int], list[int]]
_MEAN = 1 << 20


def new_state(experts: int, layers: int, seed: int, future: Any) -> State:
    return ([seed], [0], [0])


def inserted(state: State, x: int, now: int) -> int:
    seed, clock, draws = state
    draws[0] += 1
    return clock[0] + int(-math.log(1.0 - uniform(seed[0], draws[0], x)) * _MEAN)


def used(state: State, x: int, now: int, score: int) -> int:
    return score


def spared(state: State, x: int, now: int, score: int) -> int:
    # The clock has passed over a pinned expert: it draws anew, or it would surely be next.
    return inserted(state, x, now)


def evicted(state: State, x: int, now: int, score: int) -> None:
    clock = state[1]
    clock[0] = max(clock[0], score)
