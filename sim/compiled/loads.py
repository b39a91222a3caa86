"""Loads and links in flat arrays: queues, chunks, dispositions. Rules: docs/timing.md, "Loads"."""

from __future__ import annotations

import numpy as np

from sim.compiled import memory
from sim.compiled.arrays import (
    ARRIVED,
    BROKEN,
    CANCEL,
    CHANGED,
    EVENTS,
    GROUPED,
    HOST,
    LAYERS,
    LISTENING,
    LOAD_ROWS,
    LOADS,
    OUTSTANDING,
    PINNED_LAYER,
    PROPOSED,
    STAGES,
    STREAMING,
    UNPIN_AT,
    WAITING,
    WAKE,
    Loads,
    Run,
    Setup,
    Tier,
)
from sim.compiled.jit import part
from sim.loads import (
    CANCELLED,
    DEMAND,
    DEMANDED,
    DROPPED,
    LATE,
    PREFETCH,
    REDUNDANT,
    TIMELY,
    USELESS,
)

DEMAND_KEY = 0
PREFETCH_KEY = 1 << 60
PRIORITY = 1 << 48
FAR = 1 << 62  # later than any time


# The queue of a stage: a heap by key, then by age.


@part
def _first(q: Loads, a: int, b: int) -> bool:
    return bool(q.key[a] < q.key[b] or (q.key[a] == q.key[b] and q.seq[a] < q.seq[b]))


@part
def _rise(q: Loads, stage: int, i: int) -> None:
    heap, place = q.heap[stage], q.place[stage]
    x = heap[i]
    while i > 0:
        parent = (i - 1) >> 1
        y = heap[parent]
        if not _first(q, x, y):
            break
        heap[i] = y
        place[y] = i
        i = parent
    heap[i] = x
    place[x] = i


@part
def _sink(q: Loads, stage: int, i: int) -> None:
    heap, place, count = q.heap[stage], q.place[stage], q.waiting[stage]
    x = heap[i]
    while True:
        child = 2 * i + 1
        if child >= count:
            break
        y = heap[child]
        if child + 1 < count and _first(q, heap[child + 1], y):
            child += 1
            y = heap[child]
        if not _first(q, y, x):
            break
        heap[i] = y
        place[y] = i
        i = child
    heap[i] = x
    place[x] = i


@part
def _enqueue(q: Loads, stage: int, x: int) -> None:
    if q.place[stage, x] < 0:
        i = q.waiting[stage]
        q.waiting[stage] = i + 1
        q.heap[stage, i] = x
        _rise(q, stage, i)


@part
def _dequeue(q: Loads, stage: int, x: int) -> None:
    i = q.place[stage, x]
    if i < 0:
        return
    q.place[stage, x] = -1
    last = q.waiting[stage] - 1
    q.waiting[stage] = last
    if i < last:
        y = q.heap[stage, last]
        q.heap[stage, i] = y
        q.place[stage, y] = i
        _rise(q, stage, i)
        _sink(q, stage, q.place[stage, y])


# How a load ends.


@part
def record(q: Loads, r: Run, x: int, disposition: int, now: int) -> None:
    row = r.of[LOAD_ROWS]
    if row >= len(r.loads):
        r.of[BROKEN] = 1
        return
    r.of[LOAD_ROWS] = row + 1
    out = r.loads[row]
    out[0], out[1], out[2], out[3] = x, q.origin[x], q.predictor[x], q.target[x]
    out[4], out[5], out[6], out[7] = disposition, q.issued[x], q.started[x], q.landed[x]
    out[8], out[9] = q.needed[x], now


@part
def settle(q: Loads, r: Run, x: int, disposition: int, now: int) -> None:
    q.counts[disposition] += 1
    q.unused[x] = 0
    if disposition == TIMELY:
        q.needed[x] = now
    record(q, r, x, disposition, now)


@part
def _release(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, x: int) -> None:
    q.flying[x] = 0
    r.of[OUTSTANDING] -= cache.size[x]
    if s.of[HOST]:
        host.pinned[x] = 0


@part
def _abandon(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, x: int, disposition: int, now: int
) -> None:
    for stage in range(s.of[STAGES]):
        _dequeue(q, stage, x)
    _release(s, cache, host, q, r, x)
    settle(q, r, x, disposition, now)
    r.of[CHANGED] = 1


# Links.


@part
def _finish(s: Setup, q: Loads, stage: int, now: int, nbytes: int) -> int:
    """When a chunk whose service starts ``now`` is through."""
    if s.storage[stage]:
        bus = max(now, q.free_at[stage]) + int(np.rint(nbytes / s.gb_s[stage]))
        q.free_at[stage] = bus
        stream = now + int(np.rint(nbytes / s.stream[stage]))
        return int(max(bus, stream) + s.latency[stage])
    alpha = s.queued[stage] if now == q.free_at[stage] else s.isolated[stage]
    end = now + int(np.rint(alpha + nbytes / s.gb_s[stage]))
    q.free_at[stage] = end
    return int(end)


@part
def _reserve(tier: Tier, q: Loads, r: Run, x: int, now: int, is_cache: bool) -> bool:
    victims = memory.reserve(tier, x)
    if is_cache:
        for i in range(victims):
            if q.unused[tier.victims[i]]:
                settle(q, r, tier.victims[i], USELESS, now)
    return bool(victims >= 0)


@part
def unpin(cache: Tier, s: Setup, r: Run) -> None:
    """Nothing of the layer that was pinned is any more."""
    at = r.of[PINNED_LAYER]
    if at >= 0:
        for i in range(s.first_routed[at], s.first_routed[at + 1]):
            cache.pinned[s.routed[i]] = 0
        r.of[PINNED_LAYER] = -1


@part
def _start(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, x: int, now: int) -> int:
    """Make room for a load about to move: 1 done, 0 dropped, -1 it must wait."""
    if 0 <= r.of[UNPIN_AT] <= now:
        unpin(cache, s, r)
    staged = s.of[HOST] and not host.resident[x]
    if not staged or _reserve(host, q, r, x, now, False):
        if _reserve(cache, q, r, x, now, True):
            q.started[x] = now
            return 1
        if staged:
            memory.release(host, x)
    if q.needed[x] >= 0:
        return -1
    _abandon(s, cache, host, q, r, x, DROPPED, now)
    return 0


@part
def _serve(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, stage: int, now: int) -> None:
    blocked = 0
    while q.active[stage] < s.lanes[stage] and q.waiting[stage] > 0:
        x = q.heap[stage, 0]
        if q.started[x] < 0:
            allowed = -1 if blocked > 0 else _start(s, cache, host, q, r, x, now)
            if allowed < 0:
                _dequeue(q, stage, x)
                q.blocked[blocked] = x
                blocked += 1
            if allowed < 1:
                continue
        nbytes = q.ready[stage, x]
        if 0 < s.chunk[stage] < nbytes:
            nbytes = s.chunk[stage]
        else:
            _dequeue(q, stage, x)
        q.ready[stage, x] -= nbytes
        end = _finish(s, q, stage, now, nbytes)
        lane = q.active[stage]
        q.active[stage] = lane + 1
        q.lane_expert[stage, lane] = x
        q.lane_bytes[stage, lane] = nbytes
        q.lane_finish[stage, lane] = end
        q.lane_seq[stage, lane] = r.of[EVENTS]
        r.of[EVENTS] += 1
    for i in range(blocked):
        _enqueue(q, stage, q.blocked[i])


@part
def serve(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, now: int) -> None:
    """Start what can start, if what happened at this instant may have made a difference."""
    while r.of[CHANGED]:  # a load that is dropped frees host memory
        r.of[CHANGED] = 0
        for stage in range(s.of[STAGES]):
            _serve(s, cache, host, q, r, stage, now)


@part
def next_landing(s: Setup, q: Loads) -> tuple[int, int, int]:
    """(time, stage, lane) of the chunk that is through first; time FAR if none is in service."""
    time, order, at, which = FAR, FAR, 0, 0
    for stage in range(s.of[STAGES]):
        for lane in range(q.active[stage]):
            end = q.lane_finish[stage, lane]
            if end < time or (end == time and q.lane_seq[stage, lane] < order):
                time, order, at, which = end, q.lane_seq[stage, lane], stage, lane
    return time, at, which


@part
def land(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, stage: int, lane: int, now: int
) -> bool:
    """The chunk in ``lane`` is through; returns whether its load is, as far as this stage goes."""
    x, nbytes = q.lane_expert[stage, lane], q.lane_bytes[stage, lane]
    last = q.active[stage] - 1
    q.active[stage] = last
    if lane < last:
        q.lane_expert[stage, lane] = q.lane_expert[stage, last]
        q.lane_bytes[stage, lane] = q.lane_bytes[stage, last]
        q.lane_finish[stage, lane] = q.lane_finish[stage, last]
        q.lane_seq[stage, lane] = q.lane_seq[stage, last]
    q.moved[stage, q.origin[x]] += nbytes
    left = q.left[stage, x] - nbytes
    q.left[stage, x] = left
    if s.storage[stage] and left == 0:
        q.storage_done[x] = now
        if s.of[HOST]:
            memory.insert(host, x, False)
    if stage + 1 < s.of[STAGES]:
        q.ready[stage + 1, x] += nbytes
        _enqueue(q, stage + 1, x)
    elif left == 0:
        _arrive(s, cache, host, q, r, x, now)
    r.of[CHANGED] = 1
    return bool(left == 0)


@part
def tell(s: Setup, q: Loads, r: Run, now: int) -> None:
    """Wake the forward pass if it waits for what has landed."""
    if r.of[LISTENING]:
        some = r.of[STREAMING] and ((not s.of[GROUPED] and r.of[ARRIVED]) or _stuck(s, q))
        if some or r.of[WAITING] == 0:
            r.of[LISTENING] = 0
            r.of[WAKE] = now
            r.of[EVENTS] += 1


@part
def _stuck(s: Setup, q: Loads) -> bool:
    in_service = 0
    for stage in range(s.of[STAGES]):
        in_service += q.active[stage]
    return bool(in_service == 0)


@part
def _arrive(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, x: int, now: int) -> None:
    needed = q.needed[x] >= 0
    q.landed[x] = now
    _release(s, cache, host, q, r, x)
    memory.insert(cache, x, needed)
    if s.of[HOST]:
        memory.use(host, x)
    if not needed:
        q.unused[x] = 1
        return
    if q.origin[x] == DEMAND:
        record(q, r, x, DEMANDED, now)
    else:
        settle(q, r, x, LATE, now)
    r.of[WAITING] -= 1
    q.arrived[r.of[ARRIVED]] = x
    r.of[ARRIVED] += 1


# Asking for loads.


@part
def _issue(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run,
    x: int, origin: int, key: int, now: int, target: int, predictor: int,
) -> None:  # fmt: skip
    r.of[LOADS] += 1
    q.seq[x] = r.of[LOADS]
    q.key[x], q.origin[x], q.predictor[x], q.target[x] = key, origin, predictor, target
    q.issued[x], q.started[x], q.needed[x] = now, -1, -1
    q.landed[x], q.storage_done[x] = -1, -1
    size, first = cache.size[x], 0
    for stage in range(s.of[STAGES]):
        q.ready[stage, x], q.left[stage, x] = 0, size
    if s.of[HOST]:
        host.pinned[x] = 1
        first = int(host.resident[x])
    q.ready[first, x] = size
    q.flying[x] = 1
    r.of[OUTSTANDING] += size
    r.of[CHANGED] = 1
    _enqueue(q, first, x)


@part
def _requeue(s: Setup, q: Loads, r: Run, x: int, key: int) -> None:
    q.key[x] = key
    r.of[CHANGED] = 1
    for stage in range(s.of[STAGES]):
        i = q.place[stage, x]
        if i >= 0:
            _rise(q, stage, i)


@part
def demand(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, first: int, end: int, now: int, index: int
) -> tuple[int, int]:
    """Ask for the routed set ``s.routed[first:end]``; returns (hits, late)."""
    hits = late = 0
    for i in range(first, end):
        x = s.routed[i]
        if cache.resident[x]:
            hits += 1
            if q.unused[x]:
                settle(q, r, x, TIMELY, now)
    missing = end - first - hits
    for i in range(first, end):
        if cache.resident[s.routed[i]]:
            memory.use(cache, s.routed[i])
    r.of[WAITING] = missing
    if missing == 0:
        return hits, late
    for i in range(first, end):
        x = s.routed[i]
        if cache.resident[x]:
            continue
        if q.flying[x]:
            late += 1
            _requeue(s, q, r, x, DEMAND_KEY)
        else:
            _issue(s, cache, host, q, r, x, DEMAND, DEMAND_KEY, now, index, -1)
        q.needed[x] = now
    return hits, late


@part
def propose(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run,
    count: int, now: int, index: int, hook: int,
) -> None:  # fmt: skip
    """Queue the ``count`` experts of ``r.out`` for layer-step ``index``."""
    r.of[PROPOSED] += count
    layer = index % s.of[LAYERS]
    issued = 0
    for i in range(count):
        x = r.out[i]
        if cache.resident[x]:
            continue
        key = PREFETCH_KEY + r.priority[i] * PRIORITY + index
        if not q.flying[x]:
            _issue(s, cache, host, q, r, x, PREFETCH, key, now, index, hook)
            issued += 1
            if s.of[CANCEL]:
                _note(q, layer, x)
        elif q.started[x] < 0 and key < q.key[x]:
            _requeue(s, q, r, x, key)
    q.counts[REDUNDANT] += count - issued


@part
def _note(q: Loads, layer: int, x: int) -> None:
    n = q.queued_count[layer]
    if n == q.queued.shape[1]:  # most of these have started since
        n = 0
        for i in range(q.queued.shape[1]):
            if _queued(q, layer, i):
                q.queued[layer, n] = q.queued[layer, i]
                q.queued_seq[layer, n] = q.queued_seq[layer, i]
                n += 1
    q.queued[layer, n] = x
    q.queued_seq[layer, n] = q.seq[x]
    q.queued_count[layer] = n + 1


@part
def _queued(q: Loads, layer: int, i: int) -> bool:
    """Whether the ``i``-th prefetch noted for ``layer`` still waits to start."""
    x = q.queued[layer, i]
    same = q.flying[x] and q.seq[x] == q.queued_seq[layer, i]
    return bool(same and q.started[x] < 0 and q.needed[x] < 0)


@part
def cancel(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, layer: int, stamp: int, now: int
) -> None:
    """Take back the layer's queued prefetches of experts that ``r.kept`` does not mark."""
    n = 0
    for i in range(q.queued_count[layer]):
        if not _queued(q, layer, i):
            continue
        x = q.queued[layer, i]
        if r.kept[x] == stamp:
            q.queued[layer, n] = x
            q.queued_seq[layer, n] = q.queued_seq[layer, i]
            n += 1
        else:
            _abandon(s, cache, host, q, r, x, CANCELLED, now)
    q.queued_count[layer] = n


@part
def finish(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, now: int) -> None:
    """The run is over: whatever was not used is useless, whatever did not start cancelled."""
    for x in range(len(q.flying)):
        if q.flying[x]:
            ended = USELESS if q.started[x] >= 0 else CANCELLED
            _abandon(s, cache, host, q, r, x, ended, now)
    for x in range(len(q.unused)):
        if q.unused[x]:
            settle(q, r, x, USELESS, now)
