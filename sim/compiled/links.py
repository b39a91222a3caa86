"""Links, as named rows, have queues and chunks in service. As ``sim.machine.links``."""

from __future__ import annotations

from prefetch_sim.sim.compiled.arrays import (
    CLASSES,
    FAR,
    STAGES,
    Array,
    Cpu,
    Lane,
    Load,
    Loader,
    LoadPath,
    Setup,
)
from prefetch_sim.sim.compiled.progress import Run
from prefetch_sim.sim.cost import transfers
from prefetch_sim.sim.engine.load import BEHIND_KEY, DEMAND_KEY, PREFETCH_KEY, PRIORITY
from prefetch_sim.sim.jit.jit import part

transfer_ns = part(transfers.transfer_ns)
copies_of = part(transfers.copies_of)


@part
def stages(s: Setup, path: LoadPath | None) -> int:
    """How many stages a path has, known when the kernel is compiled where it is one link."""
    if path is None:
        return 1
    return s.stages


# The queue of a stage: a ring, see ``arrays.Loader``.


@part
def _node(stage: int, x: int) -> int:
    return STAGES * (CLASSES + x) + stage


@part
def expert(node: int) -> int:
    return node // STAGES - CLASSES


@part
def first(loader: Loader, stage: int) -> int:
    """The node of who moves next, or the stage's number where nobody waits."""
    return after(loader, stage)


@part
def after(loader: Loader, node: int) -> int:
    """The node behind ``node``, over the marks between classes; at the end the stage's number."""
    node = loader.queue[node].after
    while STAGES <= node < STAGES * CLASSES:
        node = loader.queue[node].after
    return node


@part
def waits(loader: Loader, stage: int, x: int) -> bool:
    return loader.queue[_node(stage, x)].after >= 0


@part
def _sooner(a: Load, b: Load) -> bool:
    return a.key < b.key or (a.key == b.key and a.seq < b.seq)


@part
def enqueue(loader: Loader, stage: int, x: int) -> None:
    """``x`` waits in its place by key, then by age: nearly always at the end of its class."""
    queue, node, load = loader.queue, _node(stage, x), loader.loads[x]
    if queue[node].after >= 0:
        return
    behind = stage  # the head, or the mark after its class
    if load.key < PREFETCH_KEY + PRIORITY:
        behind += STAGES if load.key == DEMAND_KEY else 2 * STAGES
    elif load.key < BEHIND_KEY:
        behind += 3 * STAGES
    before = queue[behind].before
    while before >= STAGES * CLASSES and _sooner(load, loader.loads[expert(before)]):
        behind, before = before, queue[before].before
    queue[node].before, queue[node].after = before, behind
    queue[before].after = queue[behind].before = node


@part
def dequeue(loader: Loader, stage: int, x: int) -> None:
    queue, node = loader.queue, _node(stage, x)
    before, behind = queue[node].before, queue[node].after
    if behind < 0:
        return
    queue[before].after, queue[behind].before = behind, before
    queue[node].after = -1


# Service.


@part
def begin(
    s: Setup, path: LoadPath | None, loader: Loader, r: Run, cpu: Cpu | None,
    stage: int, x: int, nbytes: int, now: int,
) -> None:  # fmt: skip
    """A chunk of ``x`` goes into service."""
    rate, server = s.rates[stage], loader.servers[stage]
    if path is not None and path.links[stage].storage:
        bus = max(now, server.free_at) + transfer_ns(nbytes, rate.bytes_per_ns, 0.0)
        server.free_at = bus
        stream = now + transfer_ns(nbytes, rate.stream_bytes_per_ns, 0.0)
        end = max(bus, stream) + path.links[stage].latency_ns
    else:
        before_ns = rate.queued_ns if now == server.free_at else rate.isolated_ns
        more_ns = rate.more_ns
        if path is not None:  # it may be a part of the expert
            more = copies_of(nbytes, path.host.size[x], rate.copies) - 1
            more_ns = more * rate.queued_ns
        bytes_per_ns = rate.bytes_per_ns
        if cpu is not None and now < cpu.at.until:
            bytes_per_ns = rate.contended_bytes_per_ns
        end = now + transfer_ns(nbytes, bytes_per_ns, before_ns + more_ns)
        server.free_at = end
    if path is None:
        server.moving = x
    else:
        _in_lane(path, loader, r.at.events, stage, x, nbytes, end)
    server.in_service += 1
    r.at.events += 1


@part
def _in_lane(
    path: LoadPath, loader: Loader, order: int, stage: int, x: int, nbytes: int, end: int
) -> None:
    server = loader.servers[stage]
    i = server.head + server.in_service
    for _ in range(server.in_service):  # it may be through before longer ones
        before, behind = _lane(path, stage, i - 1), _lane(path, stage, i)
        if before.finish <= end:
            break
        behind.expert, behind.nbytes = before.expert, before.nbytes
        behind.finish, behind.order = before.finish, before.order
        i -= 1
    lane = _lane(path, stage, i)
    lane.expert, lane.nbytes, lane.finish, lane.order = x, nbytes, end, order


@part
def _lane(path: LoadPath, stage: int, i: int) -> Lane:
    """Number ``i`` of a stage."""
    return path.lanes[stage][i & (path.width - 1)]


@part
def next_landing(s: Setup, path: LoadPath | None, loader: Loader) -> tuple[int, int]:
    """(time, stage) of the chunk that is through first; time FAR if none is in service."""
    if path is None:
        server = loader.servers[0]
        return server.free_at if server.in_service > 0 else FAR, 0
    time, order, at = FAR, FAR, 0
    for stage in range(s.stages):
        server = loader.servers[stage]
        if server.in_service > 0:
            lane = _lane(path, stage, server.head)
            if lane.finish < time or (lane.finish == time and lane.order < order):
                time, order, at = lane.finish, lane.order, stage
    return time, at


@part
def leave(path: LoadPath | None, loader: Loader, size: Array, stage: int) -> tuple[int, int]:
    """The first chunk of ``stage`` is through: (its expert, its bytes); ``size``: of experts."""
    server = loader.servers[stage]
    server.in_service -= 1
    if path is None:
        x = server.moving
        return x, size[x]
    lane = _lane(path, stage, server.head)
    server.head += 1
    return lane.expert, lane.nbytes
