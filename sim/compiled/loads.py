"""Loads, as named rows, are asked for, and end. Rules: docs/timing.md, "Loads"."""

from __future__ import annotations

from prefetch_sim.sim.compiled import links, memory
from prefetch_sim.sim.compiled.arrays import Array, Loader, LoadPath, Setup, Tier
from prefetch_sim.sim.compiled.progress import TOO_MANY_LOADS, Run
from prefetch_sim.sim.engine.load import (
    BEHIND,
    BEHIND_KEY,
    CANCELLED,
    DEMAND,
    DEMAND_KEY,
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
def count_ends(s: Setup, r: Run, step: int, disposition: int, loads: int) -> None:
    r.counts[s.steps[step].prefill][disposition] += loads


@part
def count_bytes(r: Run, stage: int, origin: int, nbytes: int) -> None:
    r.moved_bytes[stage][origin] += nbytes


@part
def settle(s: Setup, loader: Loader, r: Run, x: int, disposition: int, now: int) -> None:
    """The end of a load: count it, and record it where records are kept."""
    load = loader.loads[x]
    if load.origin == PREFETCH:
        step = r.at.step  # mostly whose it is
        if not step * s.layers <= load.target < (step + 1) * s.layers:
            step = load.target // s.layers
        count_ends(s, r, step, disposition, 1)
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
def abandon(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run,
    x: int, disposition: int, now: int,
) -> None:  # fmt: skip
    for stage in range(links.stages(s, path)):
        links.dequeue(loader, stage, x)
    release(s, cache, path, loader, r, x)
    settle(s, loader, r, x, disposition, now)
    r.at.changed = 1


@part
def release(s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, x: int) -> None:
    loader.loads[x].in_flight = 0
    r.at.outstanding -= cache.size[x]
    if path is not None and s.has_host:
        path.host.pin[x] = 0


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
    load.target = target
    if s.keeps:
        load.predictor, load.issued = predictor, now
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
    count_ends(s, r, index // s.layers, REDUNDANT, count - issued)


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
        abandon(s, cache, path, loader, r, loader.cancelled[i], CANCELLED, now)


@part
def finish(s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, now: int) -> None:
    """The run is over: whatever was not used is useless, whatever did not start cancelled."""
    for x in range(s.layers * s.experts):
        load = loader.loads[x]
        if load.in_flight:
            ended = USELESS if load.started >= 0 else CANCELLED
            abandon(s, cache, path, loader, r, x, ended, now)
    for x in range(s.layers * s.experts):
        if loader.unused[x]:
            settle(s, loader, r, x, USELESS, now)
