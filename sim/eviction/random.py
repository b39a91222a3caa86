"""Uniformly random among the evictable.

Each resident draws an exponential lifetime on a clock that stands at the last victim's expiry.
Lifetimes are memoryless, so whoever expires first is uniform among the residents, whenever they
arrived; and the cache can keep them in a heap like any other score.
"""

from __future__ import annotations

import math

from sim.eviction.base import FIRST, SECOND, SEED, State
from sim.rng import uniform

CLOCK, DRAWS = FIRST, SECOND  # the clock counts in 2^-20 of a mean lifetime
_MEAN = 1 << 20


def inserted(state: State, x: int, now: int) -> int:
    state.shared[DRAWS] += 1
    draw = uniform(state.shared[SEED], state.shared[DRAWS], x)
    return state.shared[CLOCK] + int(-math.log(1.0 - draw) * _MEAN)


def used(state: State, x: int, now: int, score: int) -> int:
    return score


def spared(state: State, x: int, now: int, score: int) -> int:
    # The clock has passed over a pinned expert: it draws anew, or it would surely be next.
    return inserted(state, x, now)


def evicted(state: State, x: int, now: int, score: int) -> None:
    state.shared[CLOCK] = max(state.shared[CLOCK], score)
