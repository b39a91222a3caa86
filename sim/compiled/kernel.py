"""The forward pass in flat arrays, and the loop that runs events in order.

The pass is a machine of few states (``arrays.ROUTING`` …): it works out what it can, then waits
for its next wake. Rules: docs/timing.md.
"""

from __future__ import annotations

from sim.compiled import jit, links, loads, memory, prediction, shortcut
from sim.compiled.arrays import (
    A_COUNT,
    A_END,
    A_LAYER,
    A_LAYER_COST,
    A_LOAD,
    A_STEP,
    A_STEP_COST,
    A_STEP_ROW,
    ARRIVED,
    AT_GATE,
    AT_ROUTED,
    AT_START,
    AWAITED,
    BEGUN,
    BROKEN,
    BUSY,
    CHANGED,
    COMPUTED,
    COST,
    DISPATCH,
    END_AT,
    END_OF,
    ENDED,
    EVENTS,
    FAR,
    FIRST_ROW,
    FREE_FROM,
    GATE_AT,
    GROUP_END,
    HITS,
    KEEP_STAMP,
    KEPT,
    LANDED,
    LANDING,
    LATE_HITS,
    LAYER,
    LAYER_ROWS,
    LISTENING,
    NOW,
    ORIGIN,
    OUT_AT,
    OVER,
    PENDING,
    PHASE,
    PREFILL,
    REQUESTS,
    ROUTED_AT,
    ROUTED_UNTIL,
    ROUTING,
    SERVED,
    STALLED,
    STALLS,
    START,
    STARTED,
    STEP,
    STEP_BUSY,
    STEP_ROWS,
    STORAGE_DONE,
    STREAMING,
    THE_END,
    UNPIN_AT,
    UNPINNED,
    WAKE,
    Loads,
    Run,
    Setup,
    Tier,
    Way,
)
from sim.compiled.jit import part
from sim.compiled.pointers import bare
from sim.loads import DEMAND
from sim.step_table import ATTENTION, EPILOGUE, FIXED, GATE, NORM, PROLOGUE, SHARED


@part
def _until(r: Run, phase: int, time: int) -> None:
    """The pass waits for ``time``."""
    r.of[PHASE], r.of[WAKE] = phase, time
    r.of[EVENTS] += 1


@part
def _begin(s: Setup, r: Run) -> None:
    """A layer starts: what happens until it is routed."""
    layer, now = r.of[LAYER], r.of[NOW]
    cost = s.steps[r.of[STEP] * A_STEP + COST]
    r.of[START] = now
    row, costs = (cost * s.layers + layer) * A_LAYER_COST, cost * A_STEP_COST
    before, gate = s.layer_cost[row + PROLOGUE], s.step_cost[costs + GATE]
    attention = before + s.layer_cost[row + ATTENTION]
    r.of[GATE_AT] = now + attention + gate
    r.of[BUSY] += attention + gate
    if s.hook_count > 0:
        read = before + s.step_cost[costs + NORM]
        for trigger in (AT_START, AT_GATE):
            now = prediction.fire(s, r, trigger, cost, now, read)
            if trigger == AT_START:
                now += attention
                read = 0
        now += gate
    else:
        now += attention + gate
    r.of[ROUTED_AT] = now
    _until(r, ROUTING, now)


@part
def _route(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, now: int) -> None:
    """Routing is known: hits, misses, and what computes at once."""
    step, layer = r.of[STEP], r.of[LAYER]
    cost = s.steps[step * A_STEP + COST]
    costs = cost * A_STEP_COST
    index = step * s.layers + layer
    first, end = s.first_routed[index], s.first_routed[index + 1]
    r.of[ROUTED_UNTIL] = cache.at.now = cache.at.pin = index
    if way is not None:
        way.host.at.now = index
    r.of[UNPIN_AT] = -1
    r.of[COMPUTED] = r.of[UNPINNED] = 0
    work = s.launch_ns * (min(end - first, 1) if s.grouped else end - first)
    for i in range(first, end):
        cache.pin[s.routed[i]] = index
        work += s.expert[layer * s.expert_columns + s.tokens[i]]
    if s.cancels and loads.some_queued(s, way, q):
        r.of[KEEP_STAMP] += 1
        for i in range(first, end):
            q.at[s.routed[i] * A_LOAD + KEPT] = r.of[KEEP_STAMP]
        loads.cancel(s, cache, way, q, r, layer, now)
    if s.known:
        hits = memory.recall(cache, s.routed, s.missed, first, end)
    else:
        hits = loads.hit(s, cache, q, r, first, end, now)
        if cache.passed:
            memory.routed(cache, layer)
    missing = end - first - hits
    r.of[HITS], r.of[LATE_HITS], r.of[AWAITED] = hits, 0, missing
    asked = now
    if s.hook_count > 0:
        now = prediction.fire(s, r, AT_ROUTED, cost, now, 0)
    if missing == 0:
        work += s.step_cost[costs + SHARED] + s.step_cost[costs + FIXED]
        r.of[BUSY] += work
        r.of[ENDED] = now + work
        return
    size = cache.size[s.routed[first]]
    r.of[STREAMING] = not memory.fits(cache, s.routed[first], end - first)
    if way is None and not r.of[STREAMING] and shortcut.applies(s, q, r, size, missing, asked):
        r.of[AWAITED] = 0
        shortcut.take(s, cache, q, r, first, end, layer, cost, index, asked, now)
        return
    r.of[LATE_HITS] = loads.demand(s, cache, way, q, r, first, end, asked, index)
    for i in range(first, end):
        q.at[s.routed[i] * A_LOAD + SERVED] = s.tokens[i]
    r.of[PHASE], r.of[WAKE], r.of[LISTENING] = LANDING, -1, 1
    r.of[DISPATCH] = s.step_cost[costs + FIXED] if s.grouped else 0  # with the first group
    r.of[GROUP_END] = asked
    # The shared experts first, and those that are there.
    work = s.step_cost[costs + SHARED]
    if not s.grouped:
        work += s.step_cost[costs + FIXED]
    r.of[BUSY] += work
    r.of[FREE_FROM] = now + work
    if r.of[STREAMING] or not s.grouped:
        _compute(s, cache, q, r, first, end, False)
    _look_after(r, asked)


@part
def _compute(s: Setup, cache: Tier, q: Loads, r: Run, first: int, end: int, landed: bool) -> None:
    """Compute what has ``landed``, or what is resident, of ``s.routed[first:end]``.

    ``grouped``: together, and where the set need not stream, all of it.
    """
    count = r.of[ARRIVED] if landed else end - first
    if s.grouped and not r.of[STREAMING]:
        count, landed = end - first, False
    layer, members, begin = r.of[LAYER], 0, r.of[COMPUTED]
    work = r.of[DISPATCH]
    for i in range(count):
        x = q.arrived[i] if landed else s.routed[first + i]
        if not cache.resident[x]:
            continue
        members += 1
        work += s.expert[layer * s.expert_columns + q.at[x * A_LOAD + SERVED]]
        if not s.grouped:
            work += s.launch_ns
        if r.of[STREAMING]:
            row = r.of[COMPUTED] * A_END
            r.ends[row + END_AT], r.ends[row + END_OF] = r.of[FREE_FROM] + work, x
            r.of[COMPUTED] += 1
    if members == 0:
        return
    if s.grouped:
        work += s.launch_ns
        r.of[DISPATCH] = 0
    r.of[BUSY] += work
    r.of[FREE_FROM] += work
    r.of[GROUP_END] = r.of[FREE_FROM]
    if s.grouped:
        for i in range(begin, r.of[COMPUTED]):
            r.ends[i * A_END + END_AT] = r.of[FREE_FROM]


@part
def _compute_landed(s: Setup, cache: Tier, q: Loads, r: Run) -> None:
    """Compute what has landed; share out the idle spans before, as ``missing.split_stall``."""
    at, index = q.at, r.of[STEP] * s.layers + r.of[LAYER]
    first, end = s.first_routed[index], s.first_routed[index + 1]
    arrived = r.of[ARRIVED]
    for i in range(arrived):
        load, free = q.arrived[i] * A_LOAD, r.of[FREE_FROM]
        landed = at[load + LANDED]
        if landed > free:
            off_storage = at[load + STORAGE_DONE] >= 0
            split = at[load + STORAGE_DONE] if off_storage else at[load + STARTED]
            split = min(max(split, free), landed)
            r.of[STALLS + (3 if off_storage else 2)] += split - free
            r.of[STALLS + (0 if at[load + ORIGIN] == DEMAND else 1)] += landed - split
            r.of[FREE_FROM] = landed
        if not s.grouped:
            q.arrived[0], r.of[ARRIVED] = q.arrived[i], 1
            _compute(s, cache, q, r, first, end, True)
    if s.grouped:
        _compute(s, cache, q, r, first, end, True)
    r.of[ARRIVED] = 0


@part
def _landed(s: Setup, cache: Tier, q: Loads, r: Run, now: int) -> None:
    """Something has landed, and loads are about to start: see ``missing.MissingLayer``."""
    if r.of[AWAITED] == 0:
        _compute_landed(s, cache, q, r)
        r.of[UNPIN_AT] = r.of[FREE_FROM]
        r.of[LISTENING] = 0
        r.of[WAKE] = now
        r.of[EVENTS] += 1
    elif r.of[STREAMING] and not s.grouped:
        _compute_landed(s, cache, q, r)
        _look_after(r, now)


@part
def _served(s: Setup, cache: Tier, q: Loads, r: Run, now: int) -> None:
    """Loads have started: does a group of a set that streams close?"""
    index = r.of[STEP] * s.layers + r.of[LAYER]
    if r.of[ARRIVED] == 0 or r.of[GROUP_END] > now:
        return
    if not loads.moves(s, q, s.first_routed[index], s.first_routed[index + 1]):
        _compute_landed(s, cache, q, r)
        _look_after(r, now - 1)


@part
def _look_after(r: Run, time: int) -> None:
    """Take a turn when next something will have been computed, later than ``time``."""
    i = r.of[UNPINNED]
    while r.of[WAKE] < 0 and i < r.of[COMPUTED]:
        if r.ends[i * A_END + END_AT] > time:
            r.of[WAKE] = r.ends[i * A_END + END_AT]
            r.of[EVENTS] += 1
        i += 1


@part
def _end_layer(s: Setup, r: Run, now: int) -> None:
    step, layer = r.of[STEP], r.of[LAYER]
    index = step * s.layers + layer
    experts = s.first_routed[index + 1] - s.first_routed[index]
    prefill = s.steps[step * A_STEP + PREFILL]
    r.of[UNPIN_AT] = now
    count = (prefill * s.layers + layer) * A_COUNT
    r.counts[count] += experts
    r.counts[count + 1] += r.of[HITS]
    r.counts[count + 2] += r.of[LATE_HITS]
    if s.keeps:
        kept, i = r.layers, r.of[LAYER_ROWS] * A_LAYER
        r.of[LAYER_ROWS] += 1
        kept[i], kept[i + 1], kept[i + 2], kept[i + 3] = step, layer, experts, r.of[HITS]
        kept[i + 4], kept[i + 5] = r.of[LATE_HITS], r.of[START]
        kept[i + 6], kept[i + 7] = r.of[ROUTED_AT], now
        for kind in range(4):
            kept[i + 8 + kind] = r.of[STALLS + kind]
    if r.of[HITS] < experts:
        for i in range(4):
            r.of[STALLED + i] += r.of[STALLS + i]
            r.of[STALLS + i] = 0
    if layer + 1 < s.layers:
        r.of[NOW], r.of[LAYER] = now, layer + 1
        return
    row = step * A_STEP
    epilogue = s.step_cost[s.steps[row + COST] * A_STEP_COST + EPILOGUE]
    now += epilogue
    r.of[BUSY] += epilogue
    out, i = r.steps, r.of[STEP_ROWS] * A_STEP_ROW
    r.of[STEP_ROWS] += 1
    out[i], out[i + 1], out[i + 2] = step, prefill, s.steps[row + REQUESTS]
    out[i + 3] = s.steps[row + A_STEP + FIRST_ROW] - s.steps[row + FIRST_ROW]
    out[i + 4], out[i + 5], out[i + 6] = r.of[BEGUN], now, r.of[BUSY] - r.of[STEP_BUSY]
    r.of[NOW] = r.of[BEGUN] = now
    r.of[STEP_BUSY] = r.of[BUSY]
    r.of[STEP], r.of[LAYER] = step + 1, 0


@part
def _woken(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, now: int) -> None:
    phase = r.of[PHASE]
    r.of[WAKE] = r.of[ENDED] = -1
    if phase == THE_END:
        loads.finish(s, cache, way, q, r, now)
        r.of[PHASE] = OVER
        return
    if phase == ROUTING:
        _route(s, cache, way, q, r, now)
    elif r.of[AWAITED] == 0:
        r.of[ENDED] = r.of[FREE_FROM]
    else:
        _look_after(r, now)
        r.of[CHANGED] = 1
    if r.of[ENDED] >= 0:
        _end_layer(s, r, r.of[ENDED])


@jit.kernel
def run(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, until: int) -> None:
    """Go on until the pass begins step ``until``, the run is over, or an array may be full.

    At one instant: what lands, then predictions that come out, then the forward pass.
    """
    s, cache, way, q, r = bare(s), bare(cache), bare(way), bare(q), bare(r)
    while r.of[PHASE] != OVER:
        if r.of[ENDED] >= 0:  # a layer has, or the run has not begun
            if r.of[STEP] >= until or r.of[PENDING] >= r.room:
                return
            r.of[ENDED] = -1
            if r.of[STEP] == s.step_count:
                _until(r, THE_END, r.of[NOW])
            else:
                _begin(s, r)
        landing, stage = links.next_landing(s, way, q)
        out = r.pending[OUT_AT] if r.of[PENDING] > 0 else FAR
        wake = r.of[WAKE] if r.of[WAKE] >= 0 else FAR
        now = min(landing, out, wake)
        if now == FAR:
            r.of[BROKEN] = 2
            return
        predicted = False
        if landing == now:
            landed = loads.land(s, cache, way, q, r, stage, now)
            if landed and r.of[LISTENING]:
                _landed(s, cache, q, r, now)
        elif out == now:
            prediction.act(s, cache, way, q, r, now)
            predicted = True
        else:
            _woken(s, cache, way, q, r, now)
        loads.serve(s, cache, way, q, r, now)
        if r.of[LISTENING] and s.grouped and r.of[STREAMING] and not predicted:
            _served(s, cache, q, r, now)
