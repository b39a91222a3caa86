"""Predictions in flat arrays: made at a trigger, out some time later, then acted on."""

from __future__ import annotations

import numpy as np

from sim.compiled import loads, memory, policies
from sim.compiled.arrays import (
    A_HOOK,
    A_LAYER_COST,
    A_LOAD,
    A_PENDING,
    A_STEP,
    A_STEP_COST,
    BUSY,
    DISTANCE,
    EVENTS,
    FIRST_ROW,
    GATE_AT,
    INLINE,
    KEEP_STAMP,
    KEPT,
    LAYER,
    OUT_AT,
    OUT_HOOK,
    OUT_INDEX,
    OUT_LEAD,
    OUT_ORDER,
    OUTSTANDING,
    PENDING,
    ROUTED_UNTIL,
    SIDE_FREE,
    STAMP,
    STEP,
    TABLE,
    TRIGGER,
    WIDTH,
    Array,
    Loads,
    Run,
    Setup,
    Tier,
    Way,
)
from sim.compiled.jit import part
from sim.prefetch.base import Limits
from sim.step_table import ATTENTION, FIXED, GATE, PROLOGUE, SHARED


@part
def fire(s: Setup, r: Run, trigger: int, cost: int, now: int, read: int) -> int:
    """The predictors with ``trigger`` predict from what is there ``read`` ns after ``now``.

    Returns when the compute engine goes on: later than ``now`` if one of them is inline.
    """
    step = r.of[STEP]
    for hook in range(s.hook_count):
        target = r.of[LAYER] + s.hooks[hook * A_HOOK + DISTANCE]
        if s.hooks[hook * A_HOOK + TRIGGER] != trigger or target >= s.layers:
            continue
        if not _says(s, hook, step, target):
            continue
        delay = s.delay[hook * s.step_count + step]
        if s.hooks[hook * A_HOOK + INLINE]:
            r.of[GATE_AT] += delay
        lead = _lead(s, r, cost, target) if s.timed else 0
        if s.hooks[hook * A_HOOK + INLINE]:
            out = now + read + delay
            now += delay
            r.of[BUSY] += delay
        else:
            out = max(now + read, r.of[SIDE_FREE]) + delay
            r.of[SIDE_FREE] = out
        i = r.of[PENDING]
        r.of[PENDING] = i + 1
        row = i * A_PENDING
        r.pending[row + OUT_AT], r.pending[row + OUT_ORDER] = out, r.of[EVENTS]
        r.pending[row + OUT_HOOK], r.pending[row + OUT_LEAD] = hook, lead
        r.pending[row + OUT_INDEX] = step * s.layers + target
        r.of[EVENTS] += 1
        while i > 0 and _sooner(r.pending, i, (i - 1) >> 1):
            _swap(r.pending, i, (i - 1) >> 1)
            i = (i - 1) >> 1
    return now


@part
def _rows(s: Setup, step: int) -> tuple[int, int]:
    """First and end of the tokens of ``step`` in ``s.rows``."""
    at = step * A_STEP + FIRST_ROW
    return s.steps[at], s.steps[at + A_STEP]


@part
def _says(s: Setup, hook: int, step: int, target: int) -> bool:
    """Whether it has anything to say of ``target``."""
    m, (first, end) = s.hooks[hook * A_HOOK + WIDTH], _rows(s, step)
    at = s.hooks[hook * A_HOOK + TABLE] + (s.rows[first] * s.layers + target) * m
    if end == first + 1:
        return bool(s.ids[at] >= 0)
    for i in range(first, end):
        at = s.hooks[hook * A_HOOK + TABLE] + (s.rows[i] * s.layers + target) * m
        for j in range(at, at + m):
            if s.ids[j] >= 0:
                return True
    return False


@part
def _lead(s: Setup, r: Run, cost: int, target: int) -> int:
    """When ``target`` is expected to be routed, if nothing until then stalls."""
    layer, at = r.of[LAYER], r.of[GATE_AT]
    launches = s.launch_ns * (1 if s.grouped else s.top_k)
    costs = cost * A_STEP_COST
    own = s.step_cost[costs + SHARED] + s.step_cost[costs + FIXED] + s.step_cost[costs + GATE]
    for later in range(layer + 1, target + 1):
        row = (cost * s.layers + later) * A_LAYER_COST
        works = launches + s.top_k * s.expert[(later - 1) * s.expert_columns + 1]
        at += own + works + s.layer_cost[row + PROLOGUE] + s.layer_cost[row + ATTENTION]
    return int(at)


# A heap of predictions that are not out yet.


@part
def _sooner(pending: Array, a: int, b: int) -> bool:
    a, b = a * A_PENDING, b * A_PENDING
    sooner, same = (
        pending[a + OUT_AT] < pending[b + OUT_AT],
        pending[a + OUT_AT] == pending[b + OUT_AT],
    )
    return bool(sooner or (same and pending[a + OUT_ORDER] < pending[b + OUT_ORDER]))


@part
def _swap(pending: Array, a: int, b: int) -> None:
    for column in range(OUT_LEAD + 1):
        i, j = a * A_PENDING + column, b * A_PENDING + column
        pending[i], pending[j] = pending[j], pending[i]


@part
def _take_out(r: Run) -> tuple[int, int, int]:
    """The prediction that is out first leaves the heap: (hook, index, lead)."""
    pending = r.pending
    hook, index, lead = pending[OUT_HOOK], pending[OUT_INDEX], pending[OUT_LEAD]
    last = r.of[PENDING] - 1
    r.of[PENDING] = last
    if last > 0:
        _swap(pending, 0, last)
        i = 0
        while True:
            child = 2 * i + 1
            if child >= last:
                break
            if child + 1 < last and _sooner(pending, child + 1, child):
                child += 1
            if not _sooner(pending, child, i):
                break
            _swap(pending, i, child)
            i = child
    return hook, index, lead


@part
def act(s: Setup, cache: Tier, way: Way | None, q: Loads, r: Run, now: int) -> None:
    """A prediction is out: propose loads, correct earlier guesses, protect residents."""
    hook, index, lead = _take_out(r)
    if index <= r.of[ROUTED_UNTIL]:
        return  # too late: the layer is routed already
    step, target = index // s.layers, index % s.layers
    m, (first, end) = s.hooks[hook * A_HOOK + WIDTH], _rows(s, step)
    tokens = end - first
    at = s.hooks[hook * A_HOOK + TABLE] + (s.rows[first] * s.layers + target) * m
    ids, scores = s.ids[at : at + m], s.scores[at : at + m]
    if tokens > 1:
        for i in range(tokens):
            at = s.hooks[hook * A_HOOK + TABLE] + (s.rows[first + i] * s.layers + target) * m
            for j in range(m):
                r.ids[i * m + j], r.scores[i * m + j] = s.ids[at + j], s.scores[at + j]
        ids, scores = r.ids[: tokens * m], r.scores[: tokens * m]
    if s.cancels and s.hook_count > 1:
        r.of[KEEP_STAMP] += 1
        for i in range(len(ids)):
            if ids[i] >= 0:
                q.at[ids[i] * A_LOAD + KEPT] = r.of[KEEP_STAMP]
        loads.cancel(s, cache, way, q, r, target, now)
    backlog = int(np.rint(r.of[OUTSTANDING] / s.wire)) if s.timed else 0
    limits = Limits(s.top_k, s.extra, s.threshold, lead - now, backlog, s.load_ns[target])
    r.of[STAMP] += 1
    count = policies.propose(
        s.policy, ids, scores, tokens, limits, cache.resident,
        r.seen, r.of[STAMP], r.out, r.priority,
    )  # fmt: skip
    loads.propose(s, cache, way, q, r, count, now, index, hook)
    if cache.predicted:
        for i in range(count):
            x = r.out[i]
            if cache.resident[x]:
                memory.predict(cache, x)
