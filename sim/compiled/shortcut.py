"""A layer's misses where nothing else moves: worked out at once, without an event.

With the link idle, nothing queued and no prediction out before the last load lands, the loads
follow one another in the order asked for, and nothing is decided in between. Most misses of a run
without prefetch are of this kind; the result is the same to the nanosecond.
"""

from __future__ import annotations

import numpy as np

from sim.compiled import loads, memory
from sim.compiled.arrays import (
    A_LOAD,
    A_STEP_COST,
    ACTIVE,
    BUSY,
    ENDED,
    EVENTS,
    FREE_AT,
    GB_S,
    ISOLATED,
    ISSUED,
    LANDED,
    LOADS,
    LOADS_LANDED,
    MOVED,
    NEEDED,
    ORIGIN,
    OUT_AT,
    PENDING,
    PREDICTOR,
    QUEUED,
    STALLS,
    STARTED,
    STORAGE_DONE,
    TARGET,
    Loads,
    Run,
    Setup,
    Tier,
)
from sim.compiled.jit import part
from sim.loads import DEMAND, DEMANDED
from sim.step_table import FIXED, SHARED


@part
def applies(s: Setup, q: Loads, r: Run, size: int, missing: int, now: int) -> bool:
    """Whether ``missing`` loads of ``size`` bytes asked for at ``now`` have the link to themselves.

    Their set fits in the cache, and the way is one link which moves experts whole.
    """
    if q.stage[ACTIVE] > 0:
        return False
    if r.of[PENDING] == 0:
        return True
    first, later = _durations(s, q, size, now)
    return bool(now + first + (missing - 1) * later < r.pending[OUT_AT])


@part
def _durations(s: Setup, q: Loads, size: int, now: int) -> tuple[int, int]:
    """ns of the first load, and of each that follows."""
    service = size / s.rate[GB_S]
    later = int(np.rint(s.rate[QUEUED] + service))
    if now == q.stage[FREE_AT]:
        return later, later
    return int(np.rint(s.rate[ISOLATED] + service)), later


@part
def take(
    s: Setup, cache: Tier, q: Loads, r: Run,
    first: int, end: int, layer: int, cost: int, index: int, asked: int, now: int,
) -> None:  # fmt: skip
    """Load what is missing of ``s.routed[first:end]`` from ``asked`` on, and end the layer.

    ``now`` is when experts may compute.
    """
    size = cache.size[s.routed[first]]
    duration, later = _durations(s, q, size, asked)
    grouped = s.grouped
    costs = cost * A_STEP_COST
    shared, fixed = s.step_cost[costs + SHARED], s.step_cost[costs + FIXED]
    busy = shared + fixed
    free = now + shared
    works = 0  # of the group
    if not grouped:
        for i in range(first, end):  # what is there computes at once
            if cache.resident[s.routed[i]]:
                works += s.launch_ns + s.expert[layer * s.expert_columns + s.tokens[i]]
        free += fixed + works
        busy += works
    landed = asked
    for i in range(first, end):
        x = s.routed[i]
        work = s.expert[layer * s.expert_columns + s.tokens[i]]
        if grouped:
            works += work
        if cache.resident[x]:
            continue
        started = landed
        if not s.known:
            loads.make_room(s, cache, q, r, x, started)
            memory.insert(cache, x, True)
        landed = started + duration
        duration = later
        r.of[EVENTS] += 1
        r.of[LOADS] += 1
        r.of[MOVED + DEMAND] += size
        if s.keeps:
            at, load = q.at, x * A_LOAD
            at[load + ORIGIN], at[load + PREDICTOR], at[load + TARGET] = DEMAND, -1, index
            at[load + ISSUED] = at[load + NEEDED] = asked
            at[load + STARTED], at[load + LANDED], at[load + STORAGE_DONE] = started, landed, -1
            loads.settle(s, q, r, x, DEMANDED, landed)
        else:
            r.of[LOADS_LANDED] += 1
        if landed > free:
            split = max(started, free)
            r.of[STALLS + 2] += split - free
            r.of[STALLS] += landed - split
            free = landed
        if not grouped:
            free += s.launch_ns + work
            busy += s.launch_ns + work
    q.stage[FREE_AT] = landed
    if grouped:
        works += s.launch_ns
        free += fixed + works
        busy += works
    r.of[EVENTS] += 1  # the pass is woken once
    r.of[BUSY] += busy
    r.of[ENDED] = free
