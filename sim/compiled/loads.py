"""Loads in flat arrays: how they are asked for, move, and end. Rules: docs/timing.md, "Loads"."""

from __future__ import annotations

from sim.compiled import links, memory
from sim.compiled.arrays import (
    A_BYTES,
    A_END,
    A_LINK,
    A_LOAD,
    A_LOAD_ROW,
    A_STAGE,
    ACTIVE,
    ARRIVED,
    AWAITED,
    BROKEN,
    CHANGED,
    CHUNK,
    COMPUTED,
    COUNTS,
    DEMAND_KEY,
    END_AT,
    END_OF,
    FAR,
    FLYING,
    ISSUED,
    KEEP_STAMP,
    KEPT,
    KEY,
    LANDED,
    LANES,
    LEFT,
    LOAD_ROWS,
    LOADS,
    LOADS_LANDED,
    MOVED,
    NEEDED,
    ORIGIN,
    OUTSTANDING,
    PREDICTOR,
    PREFETCH_KEY,
    PRIORITY,
    PROPOSED,
    READY,
    SEQ,
    STARTED,
    STORAGE,
    STORAGE_DONE,
    TARGET,
    UNPIN_AT,
    UNPINNED,
    Loads,
    Run,
    Setup,
    Tier,
    Way,
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

# Pins in host memory, and what is pinned there for whom.
QUEUED_TOO, FIRM = 1, 2

# How a load ends.


@part
def settle(s: Setup, q: Loads, r: Run, x: int, disposition: int, now: int) -> None:
    """The end of a load: count it, and record it where records are kept."""
    at, i = q.at, x * A_LOAD
    if disposition != DEMANDED:
        r.of[COUNTS + disposition] += 1
        q.unused[x] = 0
        if disposition == TIMELY:
            at[i + NEEDED] = now
    r.of[LOADS_LANDED] += at[i + LANDED] >= 0
    if not s.keeps:
        return
    if r.of[LOAD_ROWS] >= r.load_room:
        r.of[BROKEN] = 1
        return
    out, row = r.loads, r.of[LOAD_ROWS] * A_LOAD_ROW
    r.of[LOAD_ROWS] += 1
    out[row], out[row + 1], out[row + 2] = x, at[i + ORIGIN], at[i + PREDICTOR]
    out[row + 3], out[row + 4], out[row + 5] = at[i + TARGET], disposition, at[i + ISSUED]
    out[row + 6], out[row + 7] = at[i + STARTED], at[i + LANDED]
    out[row + 8], out[row + 9] = at[i + NEEDED], now


@part
def _abandon(
    s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, x: int, disposition: int, now: int
) -> None:
    for stage in range(links.stages(s, way)):
        links.dequeue(q, stage, x)
    _off_the_way(s, cache, way, q, r, x)
    settle(s, q, r, x, disposition, now)
    r.of[CHANGED] = 1


@part
def _off_the_way(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, x: int) -> None:
    q.at[x * A_LOAD + FLYING] = 0
    r.of[OUTSTANDING] -= cache.size[x]
    if way is not None and s.has_host:
        way.host.pin[x] = 0


# How loads move.


@part
def _start(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, x: int, now: int) -> int:
    """Make room for a load about to move: 1 done, 0 dropped, -1 it must wait.

    Nothing leaves any tier unless there is room in all.
    """
    _unpin(cache, r, now)
    needed = bool(q.at[x * A_LOAD + NEEDED] >= 0)
    if way is None:
        room = make_room(s, cache, q, r, x, now)
    else:
        staged = s.has_host and not way.host.resident[x]
        room, victims, aside = True, 0, 0
        if staged:
            # A queued prefetch holds its expert there against other prefetches only.
            way.host.at.pin = FIRM if needed else QUEUED_TOO
            victims, aside = memory.search(way.host, x)
            room = victims >= 0
        if room:
            room = make_room(s, cache, q, r, x, now)
            if staged and room:
                memory.take(way.host, x, victims, aside)
                _wait_at_storage(way, q, victims)
            elif staged:
                memory.give_up(way.host, victims)
        if room and s.has_host:
            way.host.pin[x] = FIRM
    if room:
        return 1
    if needed:
        return -1
    _abandon(s, cache, way, q, r, x, DROPPED, now)
    return 0


@part
def _unpin(cache: Tier, r: Run, now: int) -> None:
    """Whose pins have ended by ``now`` may leave."""
    if 0 <= r.of[UNPIN_AT] <= now:
        cache.at.pin = FAR
    while r.of[UNPINNED] < r.of[COMPUTED]:
        end = r.of[UNPINNED] * A_END
        if r.ends[end + END_AT] > now:
            break
        cache.pin[r.ends[end + END_OF]] = -2
        r.of[UNPINNED] += 1


@part
def _wait_at_storage(way: Way, q: Loads, victims: int) -> None:
    """Prefetches that wait for an expert which has just left host memory."""
    for i in range(victims):
        x = way.host.victims[i].expert
        if q.at[x * A_LOAD + FLYING]:
            way.bytes[_bytes(x, 0) + READY], way.bytes[_bytes(x, 1) + READY] = way.host.size[x], 0
            links.dequeue(q, 1, x)
            links.enqueue(q, 0, x)


@part
def make_room(s: Setup, cache: Tier, q: Loads, r: Run, x: int, now: int) -> bool:
    """Reserve room in the cache for a load that starts now, if that can be."""
    victims = memory.reserve(cache, x)
    for i in range(victims):
        y = cache.victims[i].expert
        if q.unused[y]:
            settle(s, q, r, y, USELESS, now)
    if victims >= 0:
        q.at[x * A_LOAD + STARTED] = now
    return victims >= 0


@part
def _bytes(x: int, stage: int) -> int:
    """Where ``x`` stands in ``Way.bytes``: READY and LEFT of ``stage``."""
    return x * A_BYTES + 2 * stage


@part
def serve(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, now: int) -> None:
    """Start what can start, if what happened at this instant may have made a difference."""
    if not r.of[CHANGED]:
        return
    r.of[CHANGED] = 0
    for stage in range(links.stages(s, way)):
        row = stage * A_STAGE
        lanes = 1 if way is None else way.link[stage * A_LINK + LANES]
        blocked = False
        node = links.first(q, stage)
        while node != stage and q.stage[row + ACTIVE] < lanes:
            x, then = links.expert(node), links.after(q, node)
            if q.at[x * A_LOAD + STARTED] < 0:
                allowed = -1 if blocked else _start(s, cache, way, q, r, x, now)
                if allowed < 1:
                    blocked = allowed < 0
                    node = then
                    continue
                if way is not None:
                    then = links.after(q, node)  # a prefetch may wait here now
            nbytes = cache.size[x]
            if way is not None:
                i = _bytes(x, stage) + READY
                nbytes = way.bytes[i]
                if 0 < way.link[stage * A_LINK + CHUNK] < nbytes:
                    nbytes, then = way.link[stage * A_LINK + CHUNK], node  # the rest of it is next
                way.bytes[i] -= nbytes
            if node != then:
                links.dequeue(q, stage, x)
            links.begin(s, way, q, r.of, stage, x, nbytes, now)
            node = then


@part
def land(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, stage: int, now: int) -> bool:
    """A chunk of ``stage`` is through; returns whether its load has landed."""
    x, nbytes = links.leave(way, q, cache.size, stage)
    r.of[MOVED + 2 * stage + q.at[x * A_LOAD + ORIGIN]] += nbytes
    r.of[CHANGED] = 1
    if way is None:
        _arrive(s, cache, way, q, r, x, now)
        return True
    i = _bytes(x, stage)
    left = way.bytes[i + LEFT] - nbytes
    way.bytes[i + LEFT] = left
    if way.link[stage * A_LINK + STORAGE] and left == 0:
        q.at[x * A_LOAD + STORAGE_DONE] = now
        if s.has_host:
            memory.insert(way.host, x, False)
    if stage + 1 < s.stages:
        way.bytes[_bytes(x, stage + 1) + READY] += nbytes
        links.enqueue(q, stage + 1, x)
        return False
    if left > 0:
        return False
    _arrive(s, cache, way, q, r, x, now)
    return True


@part
def _arrive(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, x: int, now: int) -> None:
    i = x * A_LOAD
    needed = bool(q.at[i + NEEDED] >= 0)
    q.at[i + LANDED] = now
    _off_the_way(s, cache, way, q, r, x)
    memory.insert(cache, x, needed)
    if way is not None and s.has_host:
        memory.use(way.host, x)
    if not needed:
        q.unused[x] = 1
        return
    settle(s, q, r, x, DEMANDED if q.at[i + ORIGIN] == DEMAND else LATE, now)
    r.of[AWAITED] -= 1
    q.arrived[r.of[ARRIVED]] = x
    r.of[ARRIVED] += 1


@part
def moves(s: Setup, q: Loads, first: int, end: int) -> bool:
    """Whether a load of ``s.routed[first:end]`` has begun and not landed."""
    moving = False
    for i in range(first, end):
        load = s.routed[i] * A_LOAD
        moving = moving or bool(q.at[load + FLYING] and q.at[load + STARTED] >= 0)
    return moving


# How loads are asked for.


@part
def _issue(
    s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run,
    x: int, origin: int, key: int, now: int, target: int, predictor: int,
) -> None:  # fmt: skip
    at, i = q.at, x * A_LOAD
    r.of[LOADS] += 1
    at[i + FLYING] = 1
    at[i + KEY], at[i + SEQ], at[i + ORIGIN] = key, r.of[LOADS], origin
    at[i + STARTED], at[i + NEEDED], at[i + LANDED] = -1, -1, -1
    at[i + STORAGE_DONE] = -1
    if s.keeps:
        at[i + PREDICTOR], at[i + TARGET], at[i + ISSUED] = predictor, target, now
    size, first = cache.size[x], 0
    if way is not None:
        for stage in range(s.stages):
            i = _bytes(x, stage)
            way.bytes[i + READY], way.bytes[i + LEFT] = 0, size
        if s.has_host:
            way.host.pin[x] = FIRM if origin == DEMAND else QUEUED_TOO
            first = int(way.host.resident[x])
        way.bytes[_bytes(x, first) + READY] = size
    r.of[OUTSTANDING] += size
    r.of[CHANGED] = 1
    links.enqueue(q, first, x)


@part
def _requeue(s: Setup, way: Way | None, q: Loads, r: Run, x: int, key: int) -> None:
    q.at[x * A_LOAD + KEY] = key
    r.of[CHANGED] = 1
    for stage in range(links.stages(s, way)):
        if links.waits(q, stage, x):
            links.dequeue(q, stage, x)
            links.enqueue(q, stage, x)


@part
def hit(s: Setup, cache: Tier, q: Loads, r: Run, first: int, end: int, now: int) -> int:
    """The residents of the routed set ``s.routed[first:end]`` are used; returns how many."""
    hits = 0
    for i in range(first, end):
        x = s.routed[i]
        if cache.resident[x]:
            hits += 1
            if q.unused[x]:
                settle(s, q, r, x, TIMELY, now)
            memory.use(cache, x)
    return hits


@part
def demand(
    s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run,
    first: int, end: int, now: int, index: int,
) -> int:  # fmt: skip
    """Ask for the rest of the routed set; returns how many a prefetch had begun."""
    late = 0
    for i in range(first, end):
        x = s.routed[i]
        if cache.resident[x]:
            continue
        if q.at[x * A_LOAD + FLYING]:
            late += 1
            _requeue(s, way, q, r, x, DEMAND_KEY)
            if way is not None and s.has_host:
                way.host.pin[x] = FIRM
        else:
            _issue(s, cache, way, q, r, x, DEMAND, DEMAND_KEY, now, index, -1)
        q.at[x * A_LOAD + NEEDED] = now
    return late


@part
def propose(
    s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run,
    count: int, now: int, index: int, hook: int,
) -> None:  # fmt: skip
    """Queue the ``count`` experts of ``r.out`` for layer-step ``index``."""
    r.of[PROPOSED] += count
    issued = 0
    for i in range(count):
        x = r.out[i]
        if cache.resident[x]:
            continue
        key = PREFETCH_KEY + r.priority[i] * PRIORITY + index
        if not q.at[x * A_LOAD + FLYING]:
            _issue(s, cache, way, q, r, x, PREFETCH, key, now, index, hook)
            issued += 1
        elif q.at[x * A_LOAD + STARTED] < 0 and key < q.at[x * A_LOAD + KEY]:
            _requeue(s, way, q, r, x, key)
    r.of[COUNTS + REDUNDANT] += count - issued


@part
def some_queued(s: Setup, way: Way | None, q: Loads) -> bool:
    waiting = 0
    for stage in range(links.stages(s, way)):
        waiting += links.first(q, stage) != stage
    return waiting > 0


@part
def cancel(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, layer: int, now: int) -> None:
    """Take back the layer's queued prefetches of experts whose KEPT is not the latest stamp."""
    base, found, stamp = layer * s.experts, 0, r.of[KEEP_STAMP]
    for stage in range(links.stages(s, way)):
        node = links.first(q, stage)
        while node != stage:
            x = links.expert(node)
            node = links.after(q, node)
            at = x * A_LOAD
            if not base <= x < base + s.experts or q.at[at + KEPT] == stamp:
                continue
            if q.at[at + STARTED] >= 0:  # the rest of its chunks
                continue
            j = found  # in order of issue
            while j > 0 and q.at[q.aside[j - 1] * A_LOAD + SEQ] > q.at[at + SEQ]:
                q.aside[j] = q.aside[j - 1]
                j -= 1
            q.aside[j] = x
            found += 1
    for i in range(found):
        _abandon(s, cache, way, q, r, q.aside[i], CANCELLED, now)


@part
def finish(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, now: int) -> None:
    """The run is over: whatever was not used is useless, whatever did not start cancelled."""
    for x in range(s.layers * s.experts):
        if q.at[x * A_LOAD + FLYING]:
            ended = USELESS if q.at[x * A_LOAD + STARTED] >= 0 else CANCELLED
            _abandon(s, cache, way, q, r, x, ended, now)
    for x in range(s.layers * s.experts):
        if q.unused[x]:
            settle(s, q, r, x, USELESS, now)
