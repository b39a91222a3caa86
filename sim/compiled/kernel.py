"""The kernel runs the forward pass over named rows, and all events in order.

The pass is a machine of few states (``progress.ROUTING`` …): it works out what it can, then waits
for its next wake. Rules: docs/timing.md.
"""

from __future__ import annotations

from prefetch_sim.sim.compiled import cpu as on_cpu
from prefetch_sim.sim.compiled import links, loads, memory, moving, prediction, shortcut
from prefetch_sim.sim.compiled.arrays import (
    AT_GATE,
    AT_ROUTED,
    AT_START,
    FAR,
    Array,
    Cpu,
    Loader,
    LoadPath,
    Setup,
    Tier,
)
from prefetch_sim.sim.compiled.computing import beside_loads, costs, slows
from prefetch_sim.sim.compiled.progress import (
    LANDING,
    OVER,
    ROUTING,
    STARTING,
    STUCK,
    THE_END,
    Run,
)
from prefetch_sim.sim.engine.load import PREFETCH
from prefetch_sim.sim.jit import jit
from prefetch_sim.sim.jit.jit import part
from prefetch_sim.sim.jit.pointers import bare


@part
def _until(r: Run, phase: int, time: int) -> None:
    """The pass waits for ``time``."""
    r.at.phase, r.at.wake = phase, time
    r.at.events += 1


@part
def _begin(s: Setup, r: Run) -> None:
    """A layer starts: what happens until it is routed."""
    now, kind = r.at.now, s.steps[r.at.step].kind
    r.at.start = now
    takes = costs(s, beside_loads(s, r))
    cost, of_layer = takes.steps[kind], takes.layers[kind][r.at.layer]
    before, gate = of_layer.prologue_ns, cost.gate_ns
    attention = before + of_layer.attention_ns
    r.at.gate_at = now + attention + gate
    r.at.busy += attention + gate
    if s.predictor_count > 0:
        read = before + cost.norm_ns
        for trigger in (AT_START, AT_GATE):
            now = prediction.fire(s, r, trigger, kind, now, read)
            if trigger == AT_START:
                now += attention
                read = 0
        now += gate
    else:
        now += attention + gate
    r.at.routed_at = now
    _until(r, ROUTING, now)


@part
def _route(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, cpu: Cpu | None, now: int
) -> None:
    """Routing is known: hits, misses, and what computes at once."""
    layer, kind = r.at.layer, s.steps[r.at.step].kind
    r.at.routed_until = r.at.step * s.layers + layer
    index = cache.at.now = cache.at.pin = r.at.routed_until
    first, end = s.first_routed[index], s.first_routed[index + 1]
    if path is not None:
        path.host.at.now = index
    r.at.unpin_at = -1
    r.at.computed = r.at.unpinned = 0
    if s.cancels and loads.some_queued(s, path, loader):
        r.at.named += 1
        for i in range(first, end):
            loader.loads[s.routed[i]].named = r.at.named
        loads.cancel(s, cache, path, loader, r, layer, now)
    if cpu is not None:
        on_cpu.share_out(s, cache, path, loader, r, cpu, first, end)
        first, end = 0, cpu.at.here
    routed, tokens = on_cpu.routed_set(s, cpu), on_cpu.tokens_of(s, cpu)
    r.at.first, r.at.end = first, end
    cost, expert_ns = s.alone.steps[kind], s.alone.expert_ns[layer]
    work = s.expert_launch_ns * (min(end - first, 1) if s.grouped else end - first)
    for i in range(first, end):
        cache.pin[routed[i]] = index
        work += expert_ns[tokens[i]]
    if s.known:
        hits = memory.recall(cache, s.routed, s.missed, first, end)
    else:
        hits = loads.hit(s, cache, loader, r, routed, first, end, now)
        if cache.not_routed:
            memory.routed(cache, layer)
    missing = end - first - hits
    r.at.bookkeeping = r.at.ahead + missing * s.miss_ns[layer]
    r.at.ahead = 0
    r.at.booked += r.at.bookkeeping
    r.at.hits, r.at.late, r.at.waiting = hits, 0, missing
    asked = now
    if cpu is not None:
        r.at.late = loads.demand(s, cache, path, loader, r, routed, first, end, asked, index)
        on_cpu.begin(s, cache, path, loader, r, cpu, index, asked)
    if s.predictor_count > 0:
        now = prediction.fire(s, r, AT_ROUTED, kind, now, 0)
    if missing == 0:
        if beside_loads(s, r):
            cost, beside_ns = costs(s, True).steps[kind], costs(s, True).expert_ns[layer]
            for i in range(first, end):
                work += beside_ns[tokens[i]] - expert_ns[tokens[i]]
        work += cost.shared_ns + cost.moe_fixed_ns
        r.at.busy += work + r.at.bookkeeping
        now += work
        if cpu is not None:
            now = on_cpu.wait(r, cpu, now)
        r.at.ended = now + r.at.bookkeeping
        return
    r.at.streams = not memory.fits(cache, routed, first, end)
    if path is None and cpu is None and not r.at.streams:
        size = cache.size[routed[first]]
        if shortcut.applies(s, loader, r, size, missing, asked):
            r.at.waiting = 0
            shortcut.take(s, cache, loader, r, first, end, cost, index, asked, now)
            return
    if cpu is None:
        r.at.late = loads.demand(s, cache, path, loader, r, routed, first, end, asked, index)
    for i in range(first, end):
        loader.loads[routed[i]].tokens = tokens[i]
    r.at.phase, r.at.wake, r.at.listening = LANDING, -1, 1
    r.at.dispatch = s.grouped  # with the first group
    r.at.group_end = asked
    # The shared experts first, and those that are there; some are not.
    cost = costs(s, True).steps[kind]
    work = 0 if s.shared_waits else cost.shared_ns
    if not s.grouped:
        work += cost.moe_fixed_ns
    r.at.busy += work
    r.at.free = now + work
    if r.at.streams or not s.grouped:
        _compute(s, cache, loader, r, routed, first, end, slows(s))
    if r.at.streams:
        _look_after(r, asked)


@part
def _compute(
    s: Setup,
    cache: Tier,
    loader: Loader,
    r: Run,
    experts: Array,
    first: int,
    end: int,
    beside: bool,
) -> None:
    """Compute those of ``experts[first:end]`` that are resident; together, if ``grouped``."""
    takes, members, begin, work = costs(s, beside), 0, r.at.computed, 0
    expert_ns = takes.expert_ns[r.at.layer]
    if r.at.dispatch:
        cost = takes.steps[s.steps[r.at.step].kind]
        work = cost.moe_fixed_ns + (cost.shared_ns if s.shared_waits else 0)
    for i in range(first, end):
        x = experts[i]
        if not cache.resident[x]:
            continue
        members += 1
        work += expert_ns[loader.loads[x].tokens]
        if not s.grouped:
            work += s.expert_launch_ns
        if r.at.streams:
            computed = r.computed[r.at.computed]
            computed.end, computed.expert = r.at.free + work, x
            r.at.computed += 1
    if members == 0:
        return
    if s.grouped:
        work += s.expert_launch_ns
        r.at.dispatch = 0
    r.at.busy += work
    r.at.free += work
    r.at.group_end = r.at.free
    if s.grouped:
        for i in range(begin, r.at.computed):
            r.computed[i].end = r.at.free


@part
def _compute_landed(s: Setup, cache: Tier, loader: Loader, r: Run, cpu: Cpu | None) -> None:
    """Compute what has landed; share out the idle spans before, as ``missing.split_stall``."""
    arrived, beside = r.at.arrived, beside_loads(s, r)
    for i in range(arrived):
        load, since = loader.loads[loader.arrived[i]], r.at.free
        if load.landed > since:
            off_storage = load.storage_done >= 0
            split = load.storage_done if off_storage else load.started
            split = min(max(split, since), load.landed)
            if off_storage:
                r.stalls.storage += split - since
            else:
                r.stalls.queue += split - since
            if load.origin == PREFETCH:
                r.stalls.late += load.landed - split
            else:
                r.stalls.demand += load.landed - split
            r.at.free = load.landed
        too = beside if i + 1 == arrived else slows(s)  # another landed later
        if not s.grouped and not r.at.streams:  # as _compute has it of one, and far quicker
            work = s.expert_launch_ns + costs(s, too).expert_ns[r.at.layer][load.tokens]
            r.at.busy += work
            r.at.free += work
        elif not s.grouped or (r.at.streams and i + 1 == arrived):  # alone, or all that landed
            _compute(s, cache, loader, r, loader.arrived, 0 if s.grouped else i, i + 1, too)
    if s.grouped and not r.at.streams:
        _compute(s, cache, loader, r, on_cpu.routed_set(s, cpu), r.at.first, r.at.end, beside)
    r.at.arrived = 0


@part
def _landed(s: Setup, cache: Tier, loader: Loader, r: Run, cpu: Cpu | None, now: int) -> None:
    """Something has landed, and loads are about to start: see ``missing.MissingLayer``."""
    if r.at.waiting > 0 and (s.grouped or not r.at.streams):
        return
    _compute_landed(s, cache, loader, r, cpu)
    if r.at.waiting > 0:
        _look_after(r, now)
        return
    if cpu is not None:
        r.at.free = on_cpu.wait(r, cpu, r.at.free)
    r.at.busy += r.at.bookkeeping
    r.at.free += r.at.bookkeeping
    r.at.unpin_at = r.at.free
    r.at.listening = 0
    r.at.wake = now
    r.at.events += 1


@part
def _served(s: Setup, cache: Tier, loader: Loader, r: Run, cpu: Cpu | None, now: int) -> None:
    """Loads have started: does a group of a set that streams close?"""
    if r.at.arrived == 0 or r.at.group_end > now:
        return
    if not moving.moves(loader, on_cpu.routed_set(s, cpu), r.at.first, r.at.end):
        _compute_landed(s, cache, loader, r, cpu)
        _look_after(r, now - 1)


@part
def _look_after(r: Run, time: int) -> None:
    """Take a turn when next something will have been computed, later than ``time``."""
    i = r.at.unpinned
    while r.at.wake < 0 and i < r.at.computed:
        if r.computed[i].end > time:
            r.at.wake = r.computed[i].end
            r.at.events += 1
        i += 1


@part
def _end_layer(s: Setup, r: Run, cpu: Cpu | None, now: int) -> None:
    layer, step = r.at.layer, s.steps[r.at.step]
    experts, left = r.at.end - r.at.first, 0
    if cpu is not None:
        left = cpu.at.count
        experts += left
    r.at.unpin_at = now
    total = r.totals[step.prefill][layer]
    total.cpu += left
    total.experts += experts
    total.hits += r.at.hits
    total.late += r.at.late
    if s.keeps:
        row = r.layers[r.at.layer_rows]
        r.at.layer_rows += 1
        row.step, row.layer, row.experts = r.at.step, layer, experts
        row.hits, row.late, row.cpu = r.at.hits, r.at.late, left
        row.start, row.routed, row.end = r.at.start, r.at.routed_at, now
        so_far, before = r.stalls, r.stalls_before
        row.stall_demand = so_far.demand - before.demand
        row.stall_late = so_far.late - before.late
        row.stall_queue = so_far.queue - before.queue
        row.stall_storage = so_far.storage - before.storage
        row.stall_cpu = so_far.cpu - before.cpu
        before.demand, before.late, before.queue = so_far.demand, so_far.late, so_far.queue
        before.storage, before.cpu = so_far.storage, so_far.cpu
    r.at.now, r.at.layer = now, layer + 1


@part
def _end_step(s: Setup, r: Run) -> None:
    step = s.steps[r.at.step]
    epilogue = costs(s, beside_loads(s, r)).steps[step.kind].epilogue_ns
    now = r.at.now + epilogue
    r.at.busy += epilogue
    row = r.steps[r.at.step_rows]
    r.at.step_rows += 1
    row.step, row.prefill, row.requests = r.at.step, step.prefill, step.requests
    row.tokens = s.steps[r.at.step + 1].first_row - step.first_row
    row.start, row.end, row.compute = r.at.begun, now, r.at.busy - r.at.step_busy
    r.at.now = r.at.begun = now
    r.at.step_busy = r.at.busy
    r.at.step, r.at.layer = r.at.step + 1, 0
    r.at.phase = ROUTING  # and no longer STARTING


@part
def _woken(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, cpu: Cpu | None, now: int
) -> None:
    phase = r.at.phase
    r.at.wake = r.at.ended = -1
    if phase == THE_END:
        loads.finish(s, cache, path, loader, r, now)
        r.at.phase = OVER
        return
    if phase == STARTING:
        r.at.ended = now
        return
    if phase == ROUTING:
        _route(s, cache, path, loader, r, cpu, now)
    elif r.at.waiting == 0:
        r.at.ended = r.at.free
    else:
        _look_after(r, now)
        r.at.changed = 1
    if r.at.ended >= 0:
        _end_layer(s, r, cpu, r.at.ended)


@jit.kernel
def run(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, cpu: Cpu | None,
    until: int,
) -> None:  # fmt: skip
    """Go on until the pass begins step ``until``, the run is over, or an array may be full.

    At one instant: what lands, then predictions that come out, then the forward pass.
    """
    s, cache, path, loader, r = bare(s), bare(cache), bare(path), bare(loader), bare(r)
    cpu = bare(cpu)
    while r.at.phase != OVER:
        if r.at.ended >= 0:  # a layer has, or its wait to start, or the run has not begun
            if slows(s) and r.at.phase != STARTING and r.at.step < s.step_count:
                r.at.ended = -1
                _until(r, STARTING, r.at.now)
            elif r.at.layer == s.layers:
                _end_step(s, r)
                continue
            else:
                if r.at.step >= until or r.at.pending >= r.room:
                    return
                r.at.ended = -1
                if r.at.step == s.step_count:
                    _until(r, THE_END, r.at.now)
                else:
                    _begin(s, r)
        landing, stage = links.next_landing(s, path, loader)
        out = r.pending[0].out_at if r.at.pending > 0 else FAR
        wake = r.at.wake if r.at.wake >= 0 else FAR
        now = min(landing, out, wake)
        if now == FAR:
            r.at.broken = STUCK
            return
        predicted = False
        if landing == now:
            landed = moving.land(s, cache, path, loader, r, stage, now)
            if landed and r.at.listening:
                _landed(s, cache, loader, r, cpu, now)
        elif out == now:
            prediction.act(s, cache, path, loader, r, now)
            predicted = True
        else:
            _woken(s, cache, path, loader, r, cpu, now)
        moving.serve(s, cache, path, loader, r, cpu, now)
        if r.at.listening and s.grouped and r.at.streams and not predicted:
            _served(s, cache, loader, r, cpu, now)
