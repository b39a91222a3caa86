"""Links in flat arrays: queues, chunks in service, and how long each takes. As ``sim.links``."""

from __future__ import annotations

import numpy as np

from sim.compiled.arrays import (
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
    NBYTES,
    ORDER,
    PLACE,
    QUEUED,
    SEQ,
    STAGES,
    STORAGE,
    STREAM_GB_S,
    WAITING,
    Array,
    Loads,
    Setup,
)
from sim.compiled.jit import INDEX, part


@part
def _sooner(at: Array, a: int, b: int) -> bool:
    return bool(at[a, KEY] < at[b, KEY] or (at[a, KEY] == at[b, KEY] and at[a, SEQ] < at[b, SEQ]))


@part
def rise(at: Array, way: Array, queue: Array, stage: int, i: int) -> None:
    x = queue[stage, i] & INDEX
    while i > 0:
        parent = (i - 1) >> 1
        y = queue[stage, parent] & INDEX
        if not _sooner(at, x, y):
            break
        queue[stage, i] = y
        way[stage, y, PLACE] = i
        i = parent
    queue[stage, i] = x
    way[stage, x, PLACE] = i


@part
def enqueue(q: Loads, stage: int, x: int) -> None:
    if q.way[stage, x, PLACE] < 0:
        i = q.stage[stage, WAITING] & INDEX
        q.stage[stage, WAITING] = i + 1
        q.queue[stage, i] = x
        rise(q.at, q.way, q.queue, stage, i)


@part
def dequeue(q: Loads, stage: int, x: int) -> None:
    at, way, queue = q.at, q.way, q.queue
    i = way[stage, x, PLACE]
    if i < 0:
        return
    way[stage, x, PLACE] = -1
    count = (q.stage[stage, WAITING] - 1) & INDEX
    q.stage[stage, WAITING] = count
    if i == count:
        return
    y = queue[stage, count] & INDEX
    while True:  # down
        child = 2 * i + 1
        if child >= count:
            break
        z = queue[stage, child] & INDEX
        if child + 1 < count and _sooner(at, queue[stage, child + 1], z):
            child += 1
            z = queue[stage, child] & INDEX
        if not _sooner(at, z, y):
            break
        queue[stage, i] = z
        way[stage, z, PLACE] = i
        i = child
    queue[stage, i] = y
    rise(at, way, queue, stage, i)


@part
def begin(s: Setup, q: Loads, events: Array, stage: int, x: int, nbytes: int, now: int) -> None:
    """A chunk of ``x`` goes into service."""
    service = nbytes / s.rate[stage, GB_S]
    if s.link[stage, STORAGE]:
        bus = max(now, q.stage[stage, FREE_AT]) + int(np.rint(service))
        q.stage[stage, FREE_AT] = bus
        stream = now + int(np.rint(nbytes / s.rate[stage, STREAM_GB_S]))
        end = max(bus, stream) + s.link[stage, LATENCY]
    else:
        behind = now == q.stage[stage, FREE_AT]
        alpha = s.rate[stage, QUEUED] if behind else s.rate[stage, ISOLATED]
        end = now + int(np.rint(alpha + service))
        q.stage[stage, FREE_AT] = end
    lanes, last, active = q.lane, q.lane.shape[1] - 1, q.stage[stage, ACTIVE]
    i = q.stage[stage, HEAD] + active
    for _ in range(active):  # it may be through before longer ones
        before = (i - 1) & last
        if lanes[stage, before, FINISH] <= end:
            break
        for column in range(4):
            lanes[stage, i & last, column] = lanes[stage, before, column]
        i -= 1
    lane = i & last
    lanes[stage, lane, EXPERT], lanes[stage, lane, NBYTES] = x, nbytes
    lanes[stage, lane, FINISH], lanes[stage, lane, ORDER] = end, events[EVENTS]
    q.stage[stage, ACTIVE] = active + 1
    events[EVENTS] += 1


@part
def next_landing(s: Setup, q: Loads) -> tuple[int, int]:
    """(time, stage) of the chunk that is through first; time FAR if none is in service."""
    time, order, at = FAR, FAR, 0
    for stage in range(s.of[STAGES]):
        if q.stage[stage, ACTIVE] > 0:
            lane = q.stage[stage, HEAD] & (q.lane.shape[1] - 1)
            end = q.lane[stage, lane, FINISH]
            if end < time or (end == time and q.lane[stage, lane, ORDER] < order):
                time, order, at = end, q.lane[stage, lane, ORDER], stage
    return time, at


@part
def leave(q: Loads, stage: int) -> tuple[int, int]:
    """The first chunk of ``stage`` is through: (its expert, its bytes)."""
    lane = q.stage[stage, HEAD] & (q.lane.shape[1] - 1)
    q.stage[stage, HEAD] += 1
    q.stage[stage, ACTIVE] -= 1
    return q.lane[stage, lane, EXPERT] & INDEX, q.lane[stage, lane, NBYTES]
