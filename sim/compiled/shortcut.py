"""Where nothing else moves, a layer's misses are worked out at once, without an event.

With the link idle, nothing queued and no prediction out before the last load lands, the loads
follow one another in the order asked for, and nothing is decided in between. Most misses of a run
without prefetch are of this kind; the result is the same to the nanosecond.
"""

from __future__ import annotations

from prefetch_sim.sim.compiled import loads, memory, moving
from prefetch_sim.sim.compiled.arrays import Loader, Setup, StepCost, Tier
from prefetch_sim.sim.compiled.links import transfer_ns
from prefetch_sim.sim.compiled.progress import Run
from prefetch_sim.sim.engine.load import DEMAND, DEMANDED
from prefetch_sim.sim.jit.jit import part


@part
def applies(s: Setup, loader: Loader, r: Run, size: int, missing: int, now: int) -> bool:
    """Whether ``missing`` loads of ``size`` bytes asked for at ``now`` have the link to themselves.

    Their set fits in the cache, and the load path is one link which moves experts whole.
    """
    if loader.servers[0].in_service > 0:
        return False
    if r.at.pending == 0:
        return True
    first, later = _durations(s, loader, size, now)
    return now + first + (missing - 1) * later < r.pending[0].out_at


@part
def _durations(s: Setup, loader: Loader, size: int, now: int) -> tuple[int, int]:
    """ns of the first load, and of each that follows."""
    rate = s.rates[0]
    later = transfer_ns(size, rate.bytes_per_ns, rate.queued_ns + rate.more_ns)
    if now == loader.servers[0].free_at:
        return later, later
    return transfer_ns(size, rate.bytes_per_ns, rate.isolated_ns + rate.more_ns), later


@part
def take(
    s: Setup, cache: Tier, loader: Loader, r: Run,
    first: int, end: int, cost: StepCost, index: int, asked: int, now: int,
) -> None:  # fmt: skip
    """Load what is missing of ``s.routed[first:end]`` from ``asked`` on, and end the layer.

    ``now`` is when experts may compute.
    """
    size, expert_ns = cache.size[s.routed[first]], s.alone.expert_ns[r.at.layer]
    duration, later = _durations(s, loader, size, asked)
    grouped = s.grouped
    busy = cost.shared_ns + cost.moe_fixed_ns
    free, works = now, 0  # of the group
    if s.shared_waits:
        works = cost.shared_ns
    else:
        free += cost.shared_ns
    if not grouped:
        for i in range(first, end):  # what is there computes at once
            if cache.resident[s.routed[i]]:
                works += s.expert_launch_ns + expert_ns[s.tokens[i]]
        free += cost.moe_fixed_ns + works
        busy += works
    landed = asked
    for i in range(first, end):
        x = s.routed[i]
        work = expert_ns[s.tokens[i]]
        if grouped:
            works += work
        if cache.resident[x]:
            continue
        started = landed
        if not s.known:
            moving.make_room(s, cache, loader, r, x, started)
            memory.insert(cache, x, True)
        landed = started + duration
        duration = later
        r.at.events += 1
        r.at.seq += 1
        loads.count_bytes(r, 0, DEMAND, size)
        if s.keeps:
            load = loader.loads[x]
            load.origin, load.predictor, load.target = DEMAND, -1, index
            load.issued = load.needed = asked
            load.started, load.landed, load.storage_done = started, landed, -1
            loads.settle(s, loader, r, x, DEMANDED, landed)
        else:
            r.at.landed += 1
        if landed > free:
            split = max(started, free)
            r.stalls.queue += split - free
            r.stalls.demand += landed - split
            free = landed
        if not grouped:
            free += s.expert_launch_ns + work
            busy += s.expert_launch_ns + work
    loader.servers[0].free_at = landed
    if grouped:
        works += s.expert_launch_ns
        free += cost.moe_fixed_ns + works
        busy += works - (cost.shared_ns if s.shared_waits else 0)  # counted above
    r.at.events += 1  # the pass is woken once
    r.at.busy += busy + r.at.bookkeeping
    r.at.ended = free + r.at.bookkeeping
