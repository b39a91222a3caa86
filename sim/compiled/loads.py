"""Loads in flat arrays: how they are asked for, move, and end. Rules: docs/timing.md, "Loads"."""

from __future__ import annotations

from sim.compiled import links, memory
from sim.compiled.arrays import (
    ACTIVE,
    ARRIVED,
    AWAITED,
    BROKEN,
    CANCEL,
    CHANGED,
    CHUNK,
    EVENTS,
    FLYING,
    GROUPED,
    HOST,
    ISSUED,
    KEEP,
    KEPT,
    KEY,
    LANDED,
    LANES,
    LEFT,
    LISTENING,
    LOAD_ROWS,
    LOADS,
    LOADS_LANDED,
    NEEDED,
    ORIGIN,
    OUTSTANDING,
    PIN,
    PLACE,
    PREDICTOR,
    PROPOSED,
    READY,
    SEQ,
    STAGES,
    STARTED,
    STORAGE,
    STORAGE_DONE,
    STREAMING,
    TARGET,
    UNPIN_AT,
    WAITING,
    WAKE,
    Loads,
    Run,
    Setup,
    Tier,
)
from sim.compiled.jit import INDEX, part
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

# How a load ends.


@part
def settle(s: Setup, q: Loads, r: Run, x: int, disposition: int, now: int) -> None:
    """The end of a load: count it, and record it where records are kept."""
    at = q.at
    if disposition != DEMANDED:
        q.counts[disposition] += 1
        q.unused[x] = 0
        if disposition == TIMELY:
            at[x, NEEDED] = now
    r.of[LOADS_LANDED] += at[x, LANDED] >= 0
    if not s.of[KEEP]:
        return
    row = r.of[LOAD_ROWS] & INDEX
    if row >= len(r.loads):
        r.of[BROKEN] = 1
        return
    r.of[LOAD_ROWS] = row + 1
    out = r.loads[row]
    out[0], out[1], out[2], out[3] = x, at[x, ORIGIN], at[x, PREDICTOR], at[x, TARGET]
    out[4], out[5], out[6], out[7] = disposition, at[x, ISSUED], at[x, STARTED], at[x, LANDED]
    out[8], out[9] = at[x, NEEDED], now


@part
def _abandon(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, x: int, disposition: int, now: int
) -> None:
    for stage in range(s.of[STAGES]):
        links.dequeue(q, stage, x)
    _off_the_way(s, cache, host, q, r, x)
    settle(s, q, r, x, disposition, now)
    r.of[CHANGED] = 1


@part
def _off_the_way(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, x: int) -> None:
    q.at[x, FLYING] = 0
    r.of[OUTSTANDING] -= cache.size[x]
    if s.of[HOST]:
        host.pin[x] = 0


# How loads move.


@part
def _start(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, x: int, now: int) -> int:
    """Make room for a load about to move: 1 done, 0 dropped, -1 it must wait."""
    if 0 <= r.of[UNPIN_AT] <= now:
        cache.of[PIN] = -1
    staged = s.of[HOST] and not host.resident[x]
    if not staged or memory.reserve(host, x) >= 0:
        victims = memory.reserve(cache, x)
        for i in range(victims):
            y = cache.victims[i, 0] & INDEX
            if q.unused[y]:
                settle(s, q, r, y, USELESS, now)
        if victims >= 0:
            q.at[x, STARTED] = now
            return 1
        if staged:
            memory.release(host, x)
    if q.at[x, NEEDED] >= 0:
        return -1
    _abandon(s, cache, host, q, r, x, DROPPED, now)
    return 0


@part
def serve(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, now: int) -> None:
    """Start what can start, if what happened at this instant may have made a difference."""
    stage = s.of[STAGES]
    while stage < s.of[STAGES] or r.of[CHANGED]:
        if stage == s.of[STAGES]:  # once more: a load that was dropped frees host memory
            r.of[CHANGED] = stage = 0
        blocked = 0
        while q.stage[stage, ACTIVE] < s.link[stage, LANES] and q.stage[stage, WAITING] > 0:
            x = q.queue[stage, 0] & INDEX
            if q.at[x, STARTED] < 0:
                allowed = -1 if blocked > 0 else _start(s, cache, host, q, r, x, now)
                if allowed < 0:
                    links.dequeue(q, stage, x)
                    q.blocked[blocked] = x
                    blocked += 1
                if allowed < 1:
                    continue
            nbytes = q.way[stage, x, READY]
            if 0 < s.link[stage, CHUNK] < nbytes:
                nbytes = s.link[stage, CHUNK]
            else:
                links.dequeue(q, stage, x)
            q.way[stage, x, READY] -= nbytes
            links.begin(s, q, r.of, stage, x, nbytes, now)
        for i in range(blocked):
            links.enqueue(q, stage, q.blocked[i])
        stage += 1


@part
def land(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, stage: int, now: int) -> bool:
    """A chunk of ``stage`` is through; returns whether its load is, as far as this stage goes."""
    x, nbytes = links.leave(q, stage)
    q.moved[stage, q.at[x, ORIGIN] & 1] += nbytes
    left = q.way[stage, x, LEFT] - nbytes
    q.way[stage, x, LEFT] = left
    if s.link[stage, STORAGE] and left == 0:
        q.at[x, STORAGE_DONE] = now
        if s.of[HOST]:
            memory.insert(host, x, False)
    if stage + 1 < s.of[STAGES]:
        q.way[stage + 1, x, READY] += nbytes
        links.enqueue(q, stage + 1, x)
    elif left == 0:
        _arrive(s, cache, host, q, r, x, now)
    r.of[CHANGED] = 1
    return bool(left == 0)


@part
def _arrive(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, x: int, now: int) -> None:
    needed = bool(q.at[x, NEEDED] >= 0)
    q.at[x, LANDED] = now
    _off_the_way(s, cache, host, q, r, x)
    memory.insert(cache, x, needed)
    if s.of[HOST]:
        memory.use(host, x)
    if not needed:
        q.unused[x] = 1
        return
    settle(s, q, r, x, DEMANDED if q.at[x, ORIGIN] == DEMAND else LATE, now)
    r.of[AWAITED] -= 1
    q.arrived[r.of[ARRIVED] & INDEX] = x
    r.of[ARRIVED] += 1


@part
def tell(s: Setup, q: Loads, r: Run, now: int) -> None:
    """Wake the forward pass if it waits for what has landed."""
    if not r.of[LISTENING]:
        return
    some = False
    if r.of[STREAMING]:
        some = bool(not s.of[GROUPED] and r.of[ARRIVED] > 0)
        in_service = 0
        for stage in range(s.of[STAGES]):
            in_service += q.stage[stage, ACTIVE]
        some = some or in_service == 0  # stuck: nothing can land until room is made
    if some or r.of[AWAITED] == 0:
        r.of[LISTENING] = 0
        r.of[WAKE] = now
        r.of[EVENTS] += 1


# How loads are asked for.


@part
def _issue(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run,
    x: int, origin: int, key: int, now: int, target: int, predictor: int,
) -> None:  # fmt: skip
    at, way = q.at, q.way
    r.of[LOADS] += 1
    at[x, FLYING] = 1
    at[x, KEY], at[x, SEQ], at[x, ORIGIN] = key, r.of[LOADS], origin
    at[x, STARTED], at[x, NEEDED], at[x, LANDED], at[x, STORAGE_DONE] = -1, -1, -1, -1
    if s.of[KEEP]:
        at[x, PREDICTOR], at[x, TARGET], at[x, ISSUED] = predictor, target, now
    size, first = cache.size[x], 0
    for stage in range(s.of[STAGES]):
        way[stage, x, READY], way[stage, x, LEFT] = 0, size
    if s.of[HOST]:
        host.pin[x] = 1
        first = int(host.resident[x])
    way[first, x, READY] = size
    r.of[OUTSTANDING] += size
    r.of[CHANGED] = 1
    links.enqueue(q, first, x)


@part
def _requeue(s: Setup, q: Loads, r: Run, x: int, key: int) -> None:
    q.at[x, KEY] = key
    r.of[CHANGED] = 1
    for stage in range(s.of[STAGES]):
        i = q.way[stage, x, PLACE]
        if i >= 0:
            links.rise(q.at, q.way, q.queue, stage, i)


@part
def hit(s: Setup, cache: Tier, q: Loads, r: Run, first: int, end: int, now: int) -> int:
    """The residents of the routed set ``s.routed[first:end]`` are used; returns how many."""
    hits = 0
    for i in range(first, end):
        x = s.routed[i] & INDEX
        if cache.resident[x]:
            hits += 1
            if q.unused[x]:
                settle(s, q, r, x, TIMELY, now)
            memory.use(cache, x)
    return hits


@part
def demand(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, first: int, end: int, now: int, index: int
) -> int:
    """Ask for the rest of the routed set; returns how many a prefetch had begun."""
    late = 0
    for i in range(first, end):
        x = s.routed[i] & INDEX
        if cache.resident[x]:
            continue
        if q.at[x, FLYING]:
            late += 1
            _requeue(s, q, r, x, DEMAND_KEY)
        else:
            _issue(s, cache, host, q, r, x, DEMAND, DEMAND_KEY, now, index, -1)
        q.at[x, NEEDED] = now
    return late


@part
def propose(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run,
    count: int, now: int, index: int, target: int, hook: int,
) -> None:  # fmt: skip
    """Queue the ``count`` experts of ``r.out`` for layer-step ``index``, layer ``target``."""
    r.of[PROPOSED] += count
    issued = 0
    for i in range(count):
        x = r.out[i] & INDEX
        if cache.resident[x]:
            continue
        key = PREFETCH_KEY + r.priority[i] * PRIORITY + index
        if not q.at[x, FLYING]:
            _issue(s, cache, host, q, r, x, PREFETCH, key, now, index, hook)
            issued += 1
            if s.of[CANCEL]:
                _note(q, target, x)
        elif q.at[x, STARTED] < 0 and key < q.at[x, KEY]:
            _requeue(s, q, r, x, key)
    q.counts[REDUNDANT] += count - issued


# Prefetches that may still be taken back.


@part
def _note(q: Loads, layer: int, x: int) -> None:
    n, noted = q.noted_count[layer], q.noted
    if n == noted.shape[1]:  # most of these have started since
        n = 0
        for i in range(noted.shape[1]):
            if _queued(q, layer, i):
                noted[layer, n, 0], noted[layer, n, 1] = noted[layer, i, 0], noted[layer, i, 1]
                n += 1
    noted[layer, n, 0], noted[layer, n, 1] = x, q.at[x, SEQ]
    q.noted_count[layer] = n + 1


@part
def _queued(q: Loads, layer: int, i: int) -> bool:
    """Whether the ``i``-th prefetch noted for ``layer`` still waits to start."""
    x = q.noted[layer, i, 0] & INDEX
    same = q.at[x, FLYING] and q.at[x, SEQ] == q.noted[layer, i, 1]
    return bool(same and q.at[x, STARTED] < 0 and q.at[x, NEEDED] < 0)


@part
def cancel(
    s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, layer: int, stamp: int, now: int
) -> None:
    """Take back the layer's queued prefetches of experts whose KEPT is not ``stamp``."""
    n, noted = 0, q.noted
    for i in range(q.noted_count[layer]):
        if not _queued(q, layer, i):
            continue
        x = noted[layer, i, 0] & INDEX
        if q.at[x, KEPT] == stamp:
            noted[layer, n, 0], noted[layer, n, 1] = x, noted[layer, i, 1]
            n += 1
        else:
            _abandon(s, cache, host, q, r, x, CANCELLED, now)
    q.noted_count[layer] = n


@part
def finish(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, now: int) -> None:
    """The run is over: whatever was not used is useless, whatever did not start cancelled."""
    for x in range(len(q.at)):
        if q.at[x, FLYING]:
            ended = USELESS if q.at[x, STARTED] >= 0 else CANCELLED
            _abandon(s, cache, host, q, r, x, ended, now)
    for x in range(len(q.at)):
        if q.unused[x]:
            settle(s, q, r, x, USELESS, now)
