"""Loads, as named rows, start, move and land. Rules: docs/timing.md, "Loads"."""

from __future__ import annotations

from prefetch_sim.sim.compiled import links, loads, memory
from prefetch_sim.sim.compiled.arrays import FAR, Array, Cpu, Loader, LoadPath, Setup, Tier
from prefetch_sim.sim.compiled.loads import FIRM, QUEUED_TOO
from prefetch_sim.sim.compiled.progress import Run
from prefetch_sim.sim.engine.load import ARRIVED, DEMANDED, DROPPED, LATE, PREFETCH, USELESS
from prefetch_sim.sim.jit.jit import part

# How loads start.


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
    loads.abandon(s, cache, path, loader, r, x, DROPPED, now)
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
            loads.settle(s, loader, r, y, USELESS, now)
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


# How they land.


@part
def land(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, stage: int, now: int
) -> bool:
    """A chunk of ``stage`` is through; returns whether its load has landed."""
    x, nbytes = links.leave(path, loader, cache.size, stage)
    load = loader.loads[x]
    loads.count_bytes(r, stage, load.origin, nbytes)
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
    loads.release(s, cache, path, loader, r, x)
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
    loads.settle(s, loader, r, x, ended, now)


@part
def moves(loader: Loader, routed: Array, first: int, end: int) -> bool:
    """Whether a load of ``routed[first:end]`` has begun and not landed."""
    moving = False
    for i in range(first, end):
        load = loader.loads[routed[i]]
        moving = moving or bool(load.in_flight and load.started >= 0)
    return moving
