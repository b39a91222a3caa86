"""Links in flat arrays: queues, what is in service, and how long it takes. As ``sim.links``."""

from __future__ import annotations

import numpy as np

from sim.compiled.arrays import (
    A_LANE,
    A_LINK,
    A_LOAD,
    A_RATE,
    A_RING,
    A_STAGE,
    ACTIVE,
    AFTER,
    BEFORE,
    CLASSES,
    DEMAND_KEY,
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
    PREFETCH_KEY,
    PRIORITY,
    QUEUED,
    SEQ,
    STAGES,
    STORAGE,
    STREAM_GB_S,
    Array,
    Loads,
    Setup,
    Way,
)
from sim.compiled.jit import part


@part
def stages(s: Setup, way: Way | None) -> int:
    """How many stages a way has, known when the kernel is compiled where it is one link."""
    if way is None:
        return 1
    return int(s.stages)


# The queue of a stage: a ring, see ``arrays.Loads``.


@part
def _node(stage: int, x: int) -> int:
    return STAGES * (CLASSES + x) + stage


@part
def expert(node: int) -> int:
    return node // STAGES - CLASSES


@part
def first(q: Loads, stage: int) -> int:
    """The node of who moves next, or the stage's number where nobody waits."""
    return after(q, stage)


@part
def after(q: Loads, node: int) -> int:
    """The node behind ``node``, over the marks between classes; at the end the stage's number."""
    node = q.queue[node * A_RING + AFTER]
    while STAGES <= node < STAGES * CLASSES:
        node = q.queue[node * A_RING + AFTER]
    return node


@part
def waits(q: Loads, stage: int, x: int) -> bool:
    return bool(q.queue[_node(stage, x) * A_RING + AFTER] >= 0)


@part
def _sooner(at: Array, a: int, b: int) -> bool:
    a, b = a * A_LOAD, b * A_LOAD
    return bool(
        at[a + KEY] < at[b + KEY] or (at[a + KEY] == at[b + KEY] and at[a + SEQ] < at[b + SEQ])
    )


@part
def enqueue(q: Loads, stage: int, x: int) -> None:
    """``x`` waits in its place by key, then by age: nearly always at the end of its class."""
    queue, node, key = q.queue, _node(stage, x), q.at[x * A_LOAD + KEY]
    if queue[node * A_RING + AFTER] >= 0:
        return
    behind = stage  # the head, or the mark after its class
    if key < PREFETCH_KEY + PRIORITY:
        behind += STAGES if key == DEMAND_KEY else 2 * STAGES
    before = queue[behind * A_RING + BEFORE]
    while before >= STAGES * CLASSES and _sooner(q.at, x, expert(before)):
        behind, before = before, queue[before * A_RING + BEFORE]
    queue[node * A_RING + BEFORE], queue[node * A_RING + AFTER] = before, behind
    queue[before * A_RING + AFTER] = queue[behind * A_RING + BEFORE] = node


@part
def dequeue(q: Loads, stage: int, x: int) -> None:
    queue, node = q.queue, _node(stage, x)
    before, behind = queue[node * A_RING + BEFORE], queue[node * A_RING + AFTER]
    if behind < 0:
        return
    queue[before * A_RING + AFTER], queue[behind * A_RING + BEFORE] = behind, before
    queue[node * A_RING + AFTER] = -1


# Service.


@part
def begin(
    s: Setup, way: Way | None, q: Loads, of: Array, stage: int, x: int, nbytes: int, now: int
) -> None:
    """A chunk of ``x`` goes into service; ``of``: the run's."""
    row = stage * A_STAGE
    service = nbytes / s.rate[stage * A_RATE + GB_S]
    if way is not None and way.link[stage * A_LINK + STORAGE]:
        bus = max(now, q.stage[row + FREE_AT]) + int(np.rint(service))
        q.stage[row + FREE_AT] = bus
        stream = now + int(np.rint(nbytes / s.rate[stage * A_RATE + STREAM_GB_S]))
        end = max(bus, stream) + way.link[stage * A_LINK + LATENCY]
    else:
        behind = now == q.stage[row + FREE_AT]
        alpha = s.rate[stage * A_RATE + (QUEUED if behind else ISOLATED)]
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
    lanes, active = way.lane, q.stage[row + ACTIVE]
    i = q.stage[row + HEAD] + active
    for _ in range(active):  # it may be through before longer ones
        before = _lane(way, stage, i - 1)
        if lanes[before + FINISH] <= end:
            break
        for column in range(A_LANE):
            lanes[_lane(way, stage, i) + column] = lanes[before + column]
        i -= 1
    lane = _lane(way, stage, i)
    lanes[lane + EXPERT], lanes[lane + NBYTES] = x, nbytes
    lanes[lane + FINISH], lanes[lane + ORDER] = end, order


@part
def _lane(way: Way, stage: int, i: int) -> int:
    """Where number ``i`` of a stage begins in ``Way.lane``."""
    return (stage * way.lanes + (i & (way.lanes - 1))) * A_LANE


@part
def next_landing(s: Setup, way: Way | None, q: Loads) -> tuple[int, int]:
    """(time, stage) of the chunk that is through first; time FAR if none is in service."""
    if way is None:
        return q.stage[FREE_AT] if q.stage[ACTIVE] > 0 else FAR, 0
    time, order, at = FAR, FAR, 0
    for stage in range(s.stages):
        row = stage * A_STAGE
        if q.stage[row + ACTIVE] > 0:
            lane = _lane(way, stage, q.stage[row + HEAD])
            end = way.lane[lane + FINISH]
            if end < time or (end == time and way.lane[lane + ORDER] < order):
                time, order, at = end, way.lane[lane + ORDER], stage
    return time, at


@part
def leave(way: Way | None, q: Loads, size: Array, stage: int) -> tuple[int, int]:
    """The first chunk of ``stage`` is through: (its expert, its bytes); ``size``: of experts."""
    row = stage * A_STAGE
    q.stage[row + ACTIVE] -= 1
    if way is None:
        x = q.stage[row + MOVING]
        return x, size[x]
    lane = _lane(way, stage, q.stage[row + HEAD])
    q.stage[row + HEAD] += 1
    return way.lane[lane + EXPERT], way.lane[lane + NBYTES]
