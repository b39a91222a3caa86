"""The forward pass in flat arrays, and the loop that runs events in order.

The pass is a machine of few states (``arrays.ROUTING`` …): it works out what it can, then waits
for its next wake. Rules: docs/timing.md.
"""

from __future__ import annotations

import numpy as np

from sim.compiled import jit, loads, memory, policies
from sim.compiled.arrays import (
    ARRIVED,
    BEGUN,
    BROKEN,
    BUSY,
    CANCEL,
    CHANGED,
    DISPATCH,
    ENDED,
    EVENTS,
    EXPERTS,
    EXTRA,
    FREE,
    GATE_AT,
    GROUPED,
    HITS,
    HOOKS,
    KEPT,
    LANDING,
    LATE,
    LAUNCH,
    LAYER,
    LAYER_ROWS,
    LAYERS,
    LISTENING,
    NOW,
    OUTSTANDING,
    OVER,
    PENDING,
    PHASE,
    PINNED_LAYER,
    POLICY,
    READY,
    ROUTED_AT,
    ROUTED_UNTIL,
    ROUTING,
    SIDE_FREE,
    STAMP,
    START,
    STEP,
    STEP_BUSY,
    STEP_ROWS,
    STEPS,
    STREAM,
    STREAMING,
    THE_END,
    TIMED,
    TOP_K,
    UNPIN_AT,
    WAITING,
    WAKE,
    Loads,
    Run,
    Setup,
    Tier,
)
from sim.compiled.jit import part
from sim.compiled.loads import FAR
from sim.loads import DEMAND
from sim.prefetch.base import Limits

AT_START, AT_GATE, AT_ROUTED = range(3)


@part
def _compute(r: Run, start: int, duration: int) -> int:
    r.of[BUSY] += duration
    return start + duration


@part
def _until(r: Run, phase: int, time: int) -> None:
    """The pass waits for ``time``."""
    r.of[PHASE], r.of[WAKE] = phase, time
    r.of[EVENTS] += 1


# Prediction


@part
def _says(s: Setup, hook: int, step: int, target: int) -> bool:
    m = s.width[hook]
    for i in range(s.first_row[step], s.first_row[step + 1]):
        at = s.table[hook] + (s.rows[i] * s.of[LAYERS] + target) * m
        for j in range(m):
            if s.ids[at + j] >= 0:
                return True
    return False


@part
def _sooner(r: Run, a: int, b: int) -> bool:
    return bool(
        r.out_at[a] < r.out_at[b]
        or (r.out_at[a] == r.out_at[b] and r.out_order[a] < r.out_order[b])
    )


@part
def _swap(r: Run, a: int, b: int) -> None:
    for column in (r.out_at, r.out_order, r.out_hook, r.out_index, r.out_lead):
        column[a], column[b] = column[b], column[a]


@part
def _fire(s: Setup, r: Run, hook: int, cost: int, now: int, read: int) -> int:
    """Predict at ``now`` from what is there ``read`` ns later; when compute goes on."""
    step, layers = r.of[STEP], s.of[LAYERS]
    target = r.of[LAYER] + s.distance[hook]
    if target >= layers or not _says(s, hook, step, target):
        return now
    delay = s.delay[hook, step]
    lead = _lead(s, r, cost, target) if s.of[TIMED] else 0
    if s.inline[hook]:
        out = now + read + delay
        now = _compute(r, now, delay)
    else:
        out = max(now + read, r.of[SIDE_FREE]) + delay
        r.of[SIDE_FREE] = out
    i = r.of[PENDING]
    r.of[PENDING] = i + 1
    r.out_at[i], r.out_order[i], r.out_hook[i] = out, r.of[EVENTS], hook
    r.out_index[i], r.out_lead[i] = step * layers + target, lead
    r.of[EVENTS] += 1
    while i > 0 and _sooner(r, i, (i - 1) >> 1):
        _swap(r, i, (i - 1) >> 1)
        i = (i - 1) >> 1
    return now


@part
def _lead(s: Setup, r: Run, cost: int, target: int) -> int:
    """When ``target`` is expected to be routed, if nothing until then stalls."""
    layer, at = r.of[LAYER], r.of[GATE_AT]
    works = s.of[TOP_K] * s.expert[layer, 1] + s.of[LAUNCH]
    experts = s.shared[cost] + s.fixed[cost] + works
    for later in range(layer + 1, target + 1):
        at += experts + s.prologue[cost, later] + s.attention[cost, later] + s.gate[cost]
    return int(at)


@part
def _take_out(r: Run) -> tuple[int, int, int]:
    """The prediction that is out first leaves the heap: (hook, index, lead)."""
    hook, index, lead = r.out_hook[0], r.out_index[0], r.out_lead[0]
    last = r.of[PENDING] - 1
    r.of[PENDING] = last
    _swap(r, 0, last)
    i = 0
    while True:
        child = 2 * i + 1
        if child >= last:
            break
        if child + 1 < last and _sooner(r, child + 1, child):
            child += 1
        if not _sooner(r, child, i):
            break
        _swap(r, i, child)
        i = child
    return hook, index, lead


@part
def _act(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, now: int) -> None:
    """A prediction is out."""
    hook, index, lead = _take_out(r)
    if index <= r.of[ROUTED_UNTIL]:
        return
    step, target = index // s.of[LAYERS], index % s.of[LAYERS]
    m, first, end = s.width[hook], s.first_row[step], s.first_row[step + 1]
    tokens = end - first
    at = s.table[hook] + (s.rows[first] * s.of[LAYERS] + target) * m
    ids, scores = s.ids[at : at + m], s.scores[at : at + m]
    if tokens > 1:
        for i in range(tokens):
            at = s.table[hook] + (s.rows[first + i] * s.of[LAYERS] + target) * m
            for j in range(m):
                r.ids[i * m + j], r.scores[i * m + j] = s.ids[at + j], s.scores[at + j]
        ids, scores = r.ids[: tokens * m], r.scores[: tokens * m]
    backlog = int(np.rint(r.of[OUTSTANDING] / s.wire[0])) if s.of[TIMED] else 0
    limits = Limits(
        s.of[TOP_K], s.of[EXTRA], s.threshold[0], lead - now, backlog, s.load_ns[target]
    )
    r.of[STAMP] += 1
    count = policies.propose(
        s.of[POLICY], ids, scores, tokens, limits, cache.resident,
        r.seen, r.of[STAMP], r.out, r.priority,
    )  # fmt: skip
    if s.of[CANCEL] and s.of[HOOKS] > 1:
        r.of[KEPT] += 1
        for i in range(count):
            r.kept[r.out[i]] = r.of[KEPT]
        loads.cancel(s, cache, host, q, r, target, r.of[KEPT], now)
    loads.propose(s, cache, host, q, r, count, now, index, hook)
    if cache.policy[memory.PREDICTED]:
        for i in range(count):
            if cache.resident[r.out[i]]:
                memory.predict(cache, r.out[i])


# The forward pass


@part
def _begin(s: Setup, r: Run) -> None:
    """A layer starts: what happens until it is routed."""
    layer, cost = r.of[LAYER], s.cost[r.of[STEP]]
    now = r.of[NOW]
    r.of[START] = now
    before, gate = s.prologue[cost, layer], s.gate[cost]
    attention = before + s.attention[cost, layer]
    r.of[GATE_AT] = now + attention + gate
    for trigger in (AT_START, AT_GATE):
        if trigger == AT_GATE:
            now = _compute(r, now, attention)
        read = before + s.norm[cost] if trigger == AT_START else 0
        for hook in range(s.of[HOOKS]):
            if s.trigger[hook] == trigger:
                now = _fire(s, r, hook, cost, now, read)
    now = _compute(r, now, gate)
    r.of[ROUTED_AT] = now
    _until(r, ROUTING, now)


@part
def _route(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, now: int) -> None:
    """Routing is known: hits, misses, and what computes at once."""
    step, layer = r.of[STEP], r.of[LAYER]
    cost = s.cost[step]
    index = step * s.of[LAYERS] + layer
    first, end = s.first_routed[index], s.first_routed[index + 1]
    r.of[ROUTED_UNTIL] = index
    cache.policy[memory.STEP] = index
    host.policy[memory.STEP] = index
    loads.unpin(cache, s, r)
    for i in range(first, end):
        cache.pinned[s.routed[i]] = 1
        r.served[s.routed[i]] = s.tokens[i]
    r.of[PINNED_LAYER] = index
    r.of[UNPIN_AT] = -1
    if s.of[CANCEL] and q.queued_count[layer] > 0:
        r.of[KEPT] += 1
        for i in range(first, end):
            r.kept[s.routed[i]] = r.of[KEPT]
        loads.cancel(s, cache, host, q, r, layer, r.of[KEPT], now)
    r.of[HITS], r.of[LATE] = loads.demand(s, cache, host, q, r, first, end, now, index)
    if cache.policy[memory.PASSED]:
        base = layer * s.of[EXPERTS]
        for x in range(base, base + s.of[EXPERTS]):
            if cache.resident[x] and not cache.pinned[x]:
                memory.pass_over(cache, x)
    for hook in range(s.of[HOOKS]):
        if s.trigger[hook] == AT_ROUTED:
            now = _fire(s, r, hook, cost, now, 0)
    for i in range(4):
        r.stalls[i] = 0
    if r.of[WAITING] == 0:
        work = s.shared[cost] + s.fixed[cost] + _work(s, r, layer, end - first, first, end)
        r.of[ENDED] = _compute(r, now, work)
        return
    # Some are missing: the shared experts first, and those that are there.
    size = cache.size[s.routed[first]]
    partition = cache.partition[s.routed[first]]
    r.of[STREAMING] = size * (end - first) > cache.capacity[partition]
    ready = work = 0
    for i in range(first, end):
        x = s.routed[i]
        if cache.resident[x]:
            ready += 1
            work += s.expert[layer, r.served[x]]
            if r.of[STREAMING]:
                r.served[x] = -r.served[x]  # of the group that is computed first
    r.of[READY] = ready
    if s.of[GROUPED]:
        r.of[DISPATCH] = s.fixed[cost]
        work = s.shared[cost]
    else:
        r.of[DISPATCH] = 0
        work += s.shared[cost] + s.fixed[cost] + s.of[LAUNCH] * ready
    r.of[FREE] = _compute(r, now, work)


@part
def _work(s: Setup, r: Run, layer: int, n: int, first: int, end: int) -> int:
    """ns to compute the whole set."""
    if n == 0:
        return 0
    work = s.of[LAUNCH] if s.of[GROUPED] else s.of[LAUNCH] * n
    for i in range(first, end):
        work += s.expert[layer, r.served[s.routed[i]]]
    return int(work)


@part
def _go_on(s: Setup, cache: Tier, q: Loads, r: Run, now: int) -> None:
    """Wait for what is missing; if the set streams, make room as soon as some is computed."""
    while True:
        if r.of[WAITING] > 0 and not (r.of[STREAMING] and r.of[READY] > 0):
            r.of[PHASE], r.of[WAKE], r.of[LISTENING] = LANDING, -1, 1
            return
        _landed(s, cache, q, r)
        if r.of[WAITING] == 0:
            r.of[ENDED] = r.of[FREE]
            return
        if r.of[FREE] > now:
            _until(r, STREAM, r.of[FREE])
            return
        _make_room(s, cache, r)


@part
def _landed(s: Setup, cache: Tier, q: Loads, r: Run) -> None:
    """Compute what has landed."""
    step, layer = r.of[STEP], r.of[LAYER]
    index = step * s.of[LAYERS] + layer
    first, end = s.first_routed[index], s.first_routed[index + 1]
    free = r.of[FREE]
    for i in range(r.of[ARRIVED]):
        x = q.arrived[i]
        if q.landed[x] > free:
            _split_stall(q, r, x, free)
            free = q.landed[x]
        if not s.of[GROUPED]:
            free = _compute(r, free, s.of[LAUNCH] + s.expert[layer, r.served[x]])
            if r.of[STREAMING]:
                r.served[x] = -r.served[x]
    if s.of[GROUPED]:
        group = work = 0
        for i in range(first, end):
            x = s.routed[i]
            if cache.pinned[x] and cache.resident[x]:
                group += 1
                work += s.expert[layer, abs(r.served[x])]
                r.served[x] = -abs(r.served[x])
        if group > 0:
            work += s.of[LAUNCH]
        free = _compute(r, free, r.of[DISPATCH] + work)
        r.of[DISPATCH] = 0
    r.of[ARRIVED] = 0
    r.of[READY] = 0
    r.of[FREE] = free


@part
def _make_room(s: Setup, cache: Tier, r: Run) -> None:
    """What has been computed of a set that streams is unpinned."""
    index = r.of[STEP] * s.of[LAYERS] + r.of[LAYER]
    for i in range(s.first_routed[index], s.first_routed[index + 1]):
        x = s.routed[i]
        if r.served[x] < 0:
            r.served[x] = -r.served[x]
            cache.pinned[x] = 0
    r.of[CHANGED] = 1


@part
def _split_stall(q: Loads, r: Run, x: int, since: int) -> None:
    """The idle span that ends with the landing of ``x``: demand, late, queueing, storage."""
    end = q.landed[x]
    off_storage = q.storage_done[x] >= 0
    split = q.storage_done[x] if off_storage else q.started[x]
    split = min(max(split, since), end)
    r.stalls[3 if off_storage else 2] += split - since
    r.stalls[0 if q.origin[x] == DEMAND else 1] += end - split


@part
def _end_layer(s: Setup, r: Run, now: int) -> None:
    step, layer = r.of[STEP], r.of[LAYER]
    index = step * s.of[LAYERS] + layer
    r.of[UNPIN_AT] = now
    row = r.layers[r.of[LAYER_ROWS]]
    r.of[LAYER_ROWS] += 1
    row[0], row[1], row[2] = step, layer, s.first_routed[index + 1] - s.first_routed[index]
    row[3], row[4], row[5] = r.of[HITS], r.of[LATE], r.of[START]
    row[6], row[7] = r.of[ROUTED_AT], now
    for i in range(4):
        row[8 + i] = r.stalls[i]
    if layer + 1 < s.of[LAYERS]:
        r.of[NOW], r.of[LAYER] = now, layer + 1
        return
    now = _compute(r, now, s.epilogue[s.cost[step]])
    row = r.steps[r.of[STEP_ROWS]]
    r.of[STEP_ROWS] += 1
    row[0], row[1], row[2] = step, s.prefill[step], s.requests[step]
    row[3] = s.first_row[step + 1] - s.first_row[step]
    row[4], row[5], row[6] = r.of[BEGUN], now, r.of[BUSY] - r.of[STEP_BUSY]
    r.of[NOW] = r.of[BEGUN] = now
    r.of[STEP_BUSY] = r.of[BUSY]
    r.of[STEP], r.of[LAYER] = step + 1, 0


@part
def _woken(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, now: int) -> None:
    phase = r.of[PHASE]
    r.of[WAKE] = r.of[ENDED] = -1
    if phase == THE_END:
        loads.finish(s, cache, host, q, r, now)
        r.of[PHASE] = OVER
        return
    if phase == ROUTING:
        _route(s, cache, host, q, r, now)
    elif phase == LANDING:
        r.of[READY] += r.of[WAITING]  # go on even if some of a set that streams is missing
    else:
        _make_room(s, cache, r)
    if r.of[ENDED] < 0:
        _go_on(s, cache, q, r, now)
    if r.of[ENDED] >= 0:
        _end_layer(s, r, r.of[ENDED])


@jit.kernel
def run(s: Setup, cache: Tier, host: Tier, q: Loads, r: Run, until: int) -> None:
    """Go on until the pass begins step ``until``, the run is over, or an array may be full.

    At one instant: what lands, then predictions that come out, then the forward pass.
    """
    room = len(r.out_at) - 3 * s.of[HOOKS]
    while r.of[PHASE] != OVER:
        if r.of[ENDED] >= 0:  # a layer has, or the run has not begun
            if r.of[STEP] >= until or r.of[PENDING] >= room:
                return
            r.of[ENDED] = -1
            if r.of[STEP] == s.of[STEPS]:
                _until(r, THE_END, r.of[NOW])
            else:
                _begin(s, r)
        landing, stage, lane = loads.next_landing(s, q)
        prediction = r.out_at[0] if r.of[PENDING] > 0 else FAR
        wake = r.of[WAKE] if r.of[WAKE] >= 0 else FAR
        now = min(landing, prediction, wake)
        landed = False
        if now == FAR:
            r.of[BROKEN] = 2
            return
        if landing == now:
            landed = loads.land(s, cache, host, q, r, stage, lane, now)
        elif prediction == now:
            _act(s, cache, host, q, r, now)
        else:
            _woken(s, cache, host, q, r, now)
        loads.serve(s, cache, host, q, r, now)
        if landed:
            loads.tell(s, q, r, now)
