"""Loads, as named rows, are asked for, move, and end. Rules: docs/timing.md, "Loads"."""

from __future__ import annotations

from prefetch_sim.sim.compiled import links, memory
from prefetch_sim.sim.compiled.arrays import FAR, Array, Cpu, Loader, LoadPath, Setup, Tier
from prefetch_sim.sim.compiled.progress import TOO_MANY_LOADS, Run
from prefetch_sim.sim.engine.load import (
    ARRIVED,
    BEHIND,
    BEHIND_KEY,
    CANCELLED,
    DEMAND,
    DEMAND_KEY,
    DEMANDED,
    DROPPED,
    LATE,
    PREFETCH,
    PREFETCH_KEY,
    PRIORITY,
    REDUNDANT,
    TIMELY,
    USELESS,
)
from prefetch_sim.sim.jit.jit import part

# How firmly a load holds its expert in host memory (``pin``), and against whom (``at.pin``): queued
# prefetches against other prefetches alone.
QUEUED_TOO, FIRM = 1, 2

# How a load ends.


@part
def count_ends(r: Run, disposition: int, loads: int) -> None:
    r.counts[disposition] += loads


@part
def count_bytes(r: Run, stage: int, origin: int, nbytes: int) -> None:
    r.moved_bytes[stage][origin] += nbytes


@part
def settle(s: Setup, loader: Loader, r: Run, x: int, disposition: int, now: int) -> None:
    """The end of a load: count it, and record it where records are kept."""
    load = loader.loads[x]
    if load.origin == PREFETCH:
        count_ends(r, disposition, 1)
        loader.unused[x] = 0
        if disposition == TIMELY:
            load.needed = now
    r.at.landed += load.landed >= 0
    if not s.keeps:
        return
    if r.at.load_rows >= r.load_room:
        r.at.broken = TOO_MANY_LOADS
        return
    row = r.loads[r.at.load_rows]
    r.at.load_rows += 1
    row.expert, row.origin, row.predictor = x, load.origin, load.predictor
    row.target, row.disposition, row.issued = load.target, disposition, load.issued
    row.started, row.landed = load.started, load.landed
    row.needed, row.settled = load.needed, now


@part
def _abandon(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run,
    x: int, disposition: int, now: int,
) -> None:  # fmt: skip
    for stage in range(links.stages(s, path)):
        links.dequeue(loader, stage, x)
    _release(s, cache, path, loader, r, x)
    settle(s, loader, r, x, disposition, now)
    r.at.changed = 1


@part
def _release(s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, x: int) -> None:
    loader.loads[x].in_flight = 0
    r.at.outstanding -= cache.size[x]
    if path is not None and s.has_host:
        path.host.pin[x] = 0


# How loads move.


@part
def _start(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, x: int, now: int
) -> int:
    """Make room for a load about to move: 1 done, 0 dropped, -1 it must wait.

    Nothing leaves any tier unless there is room in all.
    """
    _unpin(cache, r, now)
    needed = loader.loads[x].needed >= 0
    if path is None:
        room = make_room(s, cache, loader, r, x, now)
    else:
        staged = s.has_host and not path.host.resident[x]
        room, victims, passed_over = True, 0, 0
        if staged:
            # A queued prefetch holds its expert there against other prefetches only.
            path.host.at.pin = FIRM if needed else QUEUED_TOO
            victims, passed_over = memory.search(path.host, x)
            room = victims >= 0
        if room:
            room = make_room(s, cache, loader, r, x, now)
            if staged and room:
                memory.take(path.host, x, victims, passed_over)
                _wait_at_storage(path, loader, victims)
            elif staged:
                memory.give_up(path.host, victims)
        if room and s.has_host:
            path.host.pin[x] = FIRM
    if room:
        r.at.moving += cache.size[x]
        return 1
    if needed:
        return -1
    _abandon(s, cache, path, loader, r, x, DROPPED, now)
    return 0


@part
def _unpin(cache: Tier, r: Run, now: int) -> None:
    """Whose pins have ended by ``now`` may leave."""
    if 0 <= r.at.unpin_at <= now:
        cache.at.pin = FAR
        r.at.unpin_at = -1
        r.at.unpinned = r.at.computed
    while r.at.unpinned < r.at.computed:
        computed = r.computed[r.at.unpinned]
        if computed.end > now:
            break
        cache.pin[computed.expert] = -2
        r.at.unpinned += 1


@part
def _wait_at_storage(path: LoadPath, loader: Loader, victims: int) -> None:
    """Prefetches that wait for an expert which has just left host memory."""
    for i in range(victims):
        x = path.host.victims[i].expert
        if loader.loads[x].in_flight:
            path.bytes[0][x].ready, path.bytes[1][x].ready = path.host.size[x], 0
            links.dequeue(loader, 1, x)
            links.enqueue(loader, 0, x)


@part
def make_room(s: Setup, cache: Tier, loader: Loader, r: Run, x: int, now: int) -> bool:
    """Reserve room in the cache for a load that starts now, if that can be."""
    victims = memory.reserve(cache, x)
    for i in range(victims):
        y = cache.victims[i].expert
        if loader.unused[y]:
            settle(s, loader, r, y, USELESS, now)
    if victims >= 0:
        loader.loads[x].started = now
    return victims >= 0


@part
def serve(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, cpu: Cpu | None, now: int
) -> None:
    """Start what can start, if what happened at this instant may have made a difference."""
    if not r.at.changed:
        return
    r.at.changed = 0
    for stage in range(links.stages(s, path)):
        server = loader.servers[stage]
        lanes = 1 if path is None else path.links[stage].lanes
        blocked = False
        node = links.first(loader, stage)
        while node != stage and server.in_service < lanes:
            x, then = links.expert(node), links.after(loader, node)
            if loader.loads[x].started < 0:
                allowed = -1 if blocked else _start(s, cache, path, loader, r, x, now)
                if allowed < 1:
                    blocked = allowed < 0
                    node = then
                    continue
                if path is not None:
                    then = links.after(loader, node)  # a prefetch may wait here now
            nbytes = cache.size[x]
            if path is not None:
                nbytes = path.bytes[stage][x].ready
                if 0 < path.links[stage].chunk < nbytes:
                    nbytes, then = path.links[stage].chunk, node  # the rest of it is next
                path.bytes[stage][x].ready -= nbytes
            if node != then:
                links.dequeue(loader, stage, x)
            links.begin(s, path, loader, r, cpu, stage, x, nbytes, now)
            node = then


@part
def land(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, stage: int, now: int
) -> bool:
    """A chunk of ``stage`` is through; returns whether its load has landed."""
    x, nbytes = links.leave(path, loader, cache.size, stage)
    load = loader.loads[x]
    count_bytes(r, stage, load.origin, nbytes)
    r.at.changed = 1
    if path is None:
        _arrive(s, cache, path, loader, r, x, now)
        return True
    path.bytes[stage][x].left -= nbytes
    left = path.bytes[stage][x].left
    if path.links[stage].storage and left == 0:
        load.storage_done = now
        if s.has_host:
            memory.insert(path.host, x, False)
    if stage + 1 < s.stages:
        path.bytes[stage + 1][x].ready += nbytes
        links.enqueue(loader, stage + 1, x)
        return False
    if left > 0:
        return False
    _arrive(s, cache, path, loader, r, x, now)
    return True


@part
def _arrive(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, x: int, now: int
) -> None:
    load = loader.loads[x]
    needed = load.needed >= 0
    load.landed = now
    r.at.moving -= cache.size[x]
    _release(s, cache, path, loader, r, x)
    memory.insert(cache, x, needed)
    if path is not None and s.has_host:
        memory.use(path.host, x)
    ended = LATE if load.origin == PREFETCH else DEMANDED
    if needed:
        r.at.waiting -= 1
        loader.arrived[r.at.arrived] = x
        r.at.arrived += 1
    else:
        r.at.ahead += s.miss_ns[cache.experts[x].layer]
        ended = ARRIVED
        if load.origin == PREFETCH:
            loader.unused[x] = 1  # it ends when it is used, or leaves
            return
    settle(s, loader, r, x, ended, now)


@part
def moves(loader: Loader, routed: Array, first: int, end: int) -> bool:
    """Whether a load of ``routed[first:end]`` has begun and not landed."""
    moving = False
    for i in range(first, end):
        load = loader.loads[routed[i]]
        moving = moving or bool(load.in_flight and load.started >= 0)
    return moving


# How loads are asked for.


@part
def issue(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run,
    x: int, origin: int, key: int, now: int, target: int, predictor: int,
) -> None:  # fmt: skip
    load = loader.loads[x]
    r.at.seq += 1
    load.in_flight = 1
    load.key, load.seq, load.origin = key, r.at.seq, origin
    load.started = load.needed = load.landed = load.storage_done = -1
    if s.keeps:
        load.predictor, load.target, load.issued = predictor, target, now
    size, first = cache.size[x], 0
    if path is not None:
        for stage in range(s.stages):
            path.bytes[stage][x].ready, path.bytes[stage][x].left = 0, size
        if s.has_host:
            path.host.pin[x] = FIRM if origin == DEMAND else QUEUED_TOO
            first = path.host.resident[x]
        path.bytes[first][x].ready = size
    r.at.outstanding += size
    r.at.changed = 1
    links.enqueue(loader, first, x)


@part
def _requeue(s: Setup, path: LoadPath | None, loader: Loader, r: Run, x: int, key: int) -> None:
    loader.loads[x].key = key
    r.at.changed = 1
    for stage in range(links.stages(s, path)):
        if links.waits(loader, stage, x):
            links.dequeue(loader, stage, x)
            links.enqueue(loader, stage, x)


@part
def hit(
    s: Setup, cache: Tier, loader: Loader, r: Run, routed: Array, first: int, end: int, now: int
) -> int:
    """The residents of the routed set ``routed[first:end]`` are used; returns how many."""
    hits = 0
    for i in range(first, end):
        x = routed[i]
        if cache.resident[x]:
            hits += 1
            if loader.unused[x]:
                settle(s, loader, r, x, TIMELY, now)
            memory.use(cache, x)
    return hits


@part
def demand(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run,
    routed: Array, first: int, end: int, now: int, index: int,
) -> int:  # fmt: skip
    """Ask for the rest of the routed set; returns how many a prefetch had begun."""
    late = 0
    for i in range(first, end):
        x = routed[i]
        if cache.resident[x]:
            continue
        load = loader.loads[x]
        if load.in_flight:
            late += load.origin == PREFETCH
            _requeue(s, path, loader, r, x, DEMAND_KEY)
            if path is not None and s.has_host:
                path.host.pin[x] = FIRM
        else:
            issue(s, cache, path, loader, r, x, DEMAND, DEMAND_KEY, now, index, -1)
        load.needed = now
    return late


@part
def propose(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run,
    count: int, now: int, index: int, predictor: int,
) -> None:  # fmt: skip
    """Queue the ``count`` experts of ``r.out`` for layer-step ``index``."""
    r.at.proposed += count
    issued = 0
    for i in range(count):
        x = r.out[i]
        if cache.resident[x]:
            continue
        key = PREFETCH_KEY + r.priority[i] * PRIORITY + index
        load = loader.loads[x]
        if not load.in_flight:
            issue(s, cache, path, loader, r, x, PREFETCH, key, now, index, predictor)
            issued += 1
        elif load.started < 0 and key < load.key:
            _requeue(s, path, loader, r, x, key)
    count_ends(r, REDUNDANT, count - issued)


@part
def some_queued(s: Setup, path: LoadPath | None, loader: Loader) -> bool:
    waiting = 0
    for stage in range(links.stages(s, path)):
        waiting += links.first(loader, stage) != stage
    return waiting > 0


@part
def cancel(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, layer: int, now: int
) -> None:
    """Cancel the layer's queued prefetches of experts that were not named last."""
    base, found = layer * s.experts, 0
    for stage in range(links.stages(s, path)):
        node = links.first(loader, stage)
        while node != stage:
            x = links.expert(node)
            node = links.after(loader, node)
            load = loader.loads[x]
            if load.key >= BEHIND_KEY:
                break  # no prefetch waits any further
            if not base <= x < base + s.experts or load.named == r.at.named:
                continue
            if load.started >= 0 or load.origin == BEHIND:  # the rest of its chunks; no prefetch
                continue
            j = found  # in order of issue
            while j > 0 and loader.loads[loader.cancelled[j - 1]].seq > load.seq:
                loader.cancelled[j] = loader.cancelled[j - 1]
                j -= 1
            loader.cancelled[j] = x
            found += 1
    for i in range(found):
        _abandon(s, cache, path, loader, r, loader.cancelled[i], CANCELLED, now)


@part
def finish(s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, now: int) -> None:
    """The run is over: whatever was not used is useless, whatever did not start cancelled."""
    for x in range(s.layers * s.experts):
        load = loader.loads[x]
        if load.in_flight:
            ended = USELESS if load.started >= 0 else CANCELLED
            _abandon(s, cache, path, loader, r, x, ended, now)
    for x in range(s.layers * s.experts):
        if loader.unused[x]:
            settle(s, loader, r, x, USELESS, now)
