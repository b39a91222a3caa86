"""Uniformly random among the evictable.

Each resident draws an exponential lifetime on a clock that stands at the last victim's expiry.
Lifetimes are memoryless, so whoever expires first is uniform among the residents, whenever they
arrived; and the cache can keep them in a heap like any other score.

All of it is in integers of at most 63 bits: a logarithm of the C library may differ with the host.
"""

from __future__ import annotations

from prefetch_sim.sim.eviction.base import FIRST, SECOND, SEED, State
from prefetch_sim.sim.jit.rng import bits

CLOCK, DRAWS = FIRST, SECOND  # the clock counts in 2^-20 of a mean lifetime
DRAWN = 53  # bits of a draw
BINARY = 24  # binary places of a logarithm
LN2 = 2977044472  # of 2^32


def lifetime(draw: int) -> int:
    """-ln(1 - draw / 2^53) mean lifetimes, for ``draw`` from 0 to 2^53 - 1.

    The binary logarithm of a number from 1 to 2 comes digit by digit: squared, it is 2 or more
    where the next digit is 1, and is halved then.
    """
    left, whole = (1 << DRAWN) - draw, DRAWN
    while left < 1 << DRAWN:
        left <<= 1
        whole -= 1
    left >>= DRAWN - 30
    log2 = whole
    for _ in range(BINARY):
        left = left * left >> 30
        digit = left >> 31
        left >>= digit
        log2 = log2 << 1 | digit
    return ((DRAWN << BINARY) - log2) * LN2 >> (32 + BINARY - 20)


def inserted(state: State, x: int, now: int) -> int:
    state.shared[DRAWS] += 1
    draw = bits(state.shared[SEED], state.shared[DRAWS], x)
    return state.shared[CLOCK] + lifetime(draw)


def used(state: State, x: int, now: int, score: int) -> int:
    return score


def spared(state: State, x: int, now: int, score: int) -> int:
    # The clock has passed over a pinned expert: it draws anew, or it would surely be next.
    return inserted(state, x, now)


def evicted(state: State, x: int, now: int, score: int) -> None:
    state.shared[CLOCK] = max(state.shared[CLOCK], score)
