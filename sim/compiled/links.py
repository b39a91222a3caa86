"""Links in flat arrays: queues, what is in service, and how long it takes. As ``sim.links``."""

from __future__ import annotations

import numpy as np

from sim.compiled.arrays import (
    A_LOAD,
    A_STAGE,
    ACTIVE,
    EVENTS,
    EXPERT,
    FAR,
    FINISH,
    FREE_AT,
    GB_S,
    HEAD,
    ISOLATED,
    KEY,
    LATENCY,
    MOVING,
    NBYTES,
    ORDER,
    PLACE,
    QUEUED,
    SEQ,
    STORAGE,
    STREAM_GB_S,
    WAITING,
    Array,
    Loads,
    Setup,
    Way,
)
from sim.compiled.jit import INDEX, part


@part
def stages(s: Setup, way: Way | None) -> int:
    """How many stages a way has, known when the kernel is compiled where it is one link."""
    if way is None:
        return 1
    return int(s.stages)


# The queue of a stage.


@part
def _sooner(at: Array, a: int, b: int) -> bool:
    a, b = a * A_LOAD, b * A_LOAD
    return bool(
        at[a + KEY] < at[b + KEY] or (at[a + KEY] == at[b + KEY] and at[a + SEQ] < at[b + SEQ])
    )


@part
def rise(at: Array, queue: Array, stage: int, i: int) -> None:
    x = queue[stage, i] & INDEX
    place = PLACE + stage
    while i > 0:
        parent = (i - 1) >> 1
        y = queue[stage, parent] & INDEX
        if not _sooner(at, x, y):
            break
        queue[stage, i] = y
        at[y * A_LOAD + place] = i
        i = parent
    queue[stage, i] = x
    at[x * A_LOAD + place] = i


@part
def enqueue(q: Loads, stage: int, x: int) -> None:
    if q.at[x * A_LOAD + PLACE + stage] < 0:
        waiting = stage * A_STAGE + WAITING
        i = q.stage[waiting] & INDEX
        q.stage[waiting] = i + 1
        q.queue[stage, i] = x
        rise(q.at, q.queue, stage, i)


@part
def dequeue(q: Loads, stage: int, x: int) -> None:
    at, queue, place = q.at, q.queue, PLACE + stage
    i = at[x * A_LOAD + place]
    if i < 0:
        return
    at[x * A_LOAD + place] = -1
    waiting = stage * A_STAGE + WAITING
    count = (q.stage[waiting] - 1) & INDEX
    q.stage[waiting] = count
    if i == count:
        return
    y = queue[stage, count] & INDEX
    while True:  # down
        child = 2 * i + 1
        if child >= count:
            break
        z = queue[stage, child] & INDEX
        if child + 1 < count and _sooner(at, queue[stage, child + 1] & INDEX, z):
            child += 1
            z = queue[stage, child] & INDEX
        if not _sooner(at, z, y):
            break
        queue[stage, i] = z
        at[z * A_LOAD + place] = i
        i = child
    queue[stage, i] = y
    rise(at, queue, stage, i)


# Service.


@part
def begin(
    s: Setup, way: Way | None, q: Loads, of: Array, stage: int, x: int, nbytes: int, now: int
) -> None:
    """A chunk of ``x`` goes into service; ``of``: the run's."""
    row = stage * A_STAGE
    service = nbytes / s.rate[stage, GB_S]
    if way is not None and way.link[stage, STORAGE]:
        bus = max(now, q.stage[row + FREE_AT]) + int(np.rint(service))
        q.stage[row + FREE_AT] = bus
        stream = now + int(np.rint(nbytes / s.rate[stage, STREAM_GB_S]))
        end = max(bus, stream) + way.link[stage, LATENCY]
    else:
        behind = now == q.stage[row + FREE_AT]
        alpha = s.rate[stage, QUEUED] if behind else s.rate[stage, ISOLATED]
        end = now + int(np.rint(alpha + service))
        q.stage[row + FREE_AT] = end
    if way is None:
        q.stage[row + MOVING] = x
    else:
        _in_lane(way, q, of[EVENTS], stage, x, nbytes, end)
    q.stage[row + ACTIVE] += 1
    of[EVENTS] += 1


@part
def _in_lane(way: Way, q: Loads, order: int, stage: int, x: int, nbytes: int, end: int) -> None:
    row = stage * A_STAGE
    lanes, last, active = way.lane, way.lane.shape[1] - 1, q.stage[row + ACTIVE]
    i = q.stage[row + HEAD] + active
    for _ in range(active):  # it may be through before longer ones
        before = (i - 1) & last
        if lanes[stage, before, FINISH] <= end:
            break
        for column in range(4):
            lanes[stage, i & last, column] = lanes[stage, before, column]
        i -= 1
    lane = i & last
    lanes[stage, lane, EXPERT], lanes[stage, lane, NBYTES] = x, nbytes
    lanes[stage, lane, FINISH], lanes[stage, lane, ORDER] = end, order


@part
def next_landing(s: Setup, way: Way | None, q: Loads) -> tuple[int, int]:
    """(time, stage) of the chunk that is through first; time FAR if none is in service."""
    if way is None:
        return q.stage[FREE_AT] if q.stage[ACTIVE] > 0 else FAR, 0
    time, order, at = FAR, FAR, 0
    for stage in range(s.stages):
        row = stage * A_STAGE
        if q.stage[row + ACTIVE] > 0:
            lane = q.stage[row + HEAD] & (way.lane.shape[1] - 1)
            end = way.lane[stage, lane, FINISH]
            if end < time or (end == time and way.lane[stage, lane, ORDER] < order):
                time, order, at = end, way.lane[stage, lane, ORDER], stage
    return time, at


@part
def leave(way: Way | None, q: Loads, size: Array, stage: int) -> tuple[int, int]:
    """The first chunk of ``stage`` is through: (its expert, its bytes); ``size``: of experts."""
    row = stage * A_STAGE
    q.stage[row + ACTIVE] -= 1
    if way is None:
        x = q.stage[row + MOVING] & INDEX
        return x, size[x]
    lane = q.stage[row + HEAD] & (way.lane.shape[1] - 1)
    q.stage[row + HEAD] += 1
    return way.lane[stage, lane, EXPERT] & INDEX, way.lane[stage, lane, NBYTES]
