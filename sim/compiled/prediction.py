"""Predictions, as named rows, are made at a trigger, come out later, and are then acted on."""

from __future__ import annotations

from prefetch_sim.sim.compiled import loads, memory, policies
from prefetch_sim.sim.compiled.arrays import Loader, LoadPath, Predictor, Setup, Tier
from prefetch_sim.sim.compiled.links import transfer_ns
from prefetch_sim.sim.compiled.progress import Prediction, Run
from prefetch_sim.sim.jit.jit import part
from prefetch_sim.sim.jit.rows import Table
from prefetch_sim.sim.prefetch.base import Limits


@part
def fire(s: Setup, r: Run, trigger: int, kind: int, now: int, read: int) -> int:
    """The predictors with ``trigger`` predict from what is there ``read`` ns after ``now``.

    Returns when the compute engine goes on: later than ``now`` if one of them is inline. ``kind``:
    of the step's costs.
    """
    step = r.at.step
    for i in range(s.predictor_count):
        predictor = s.predictors[i]
        target = r.at.layer + predictor.distance
        if predictor.trigger != trigger or target >= s.layers:
            continue
        if not _says(s, predictor, step, target):
            continue
        delay = s.delay[i][step]
        if predictor.inline:
            r.at.gate_at += delay
        lead = _lead(s, r, kind, target) if s.timed else 0
        if predictor.inline:
            out = now + read + delay
            now += delay
            r.at.busy += delay
        else:
            out = max(now + read, r.at.side_free) + delay
            r.at.side_free = out
        _put_in(r, out, i, step * s.layers + target, lead)
    return now


@part
def _rows(s: Setup, step: int) -> tuple[int, int]:
    """First and end of the tokens of ``step`` in ``s.rows``."""
    return s.steps[step].first_row, s.steps[step + 1].first_row


@part
def _place(s: Setup, predictor: Predictor, token: int, target: int) -> int:
    """Where in ``s.ids`` stands what ``predictor`` says of ``target``; ``token``: of ``s.rows``."""
    return int(predictor.table + (s.rows[token] * s.layers + target) * predictor.width)


@part
def _says(s: Setup, predictor: Predictor, step: int, target: int) -> bool:
    """Whether it has anything to say of ``target``."""
    first, end = _rows(s, step)
    place = _place(s, predictor, first, target)
    if end == first + 1:
        return bool(s.ids[place] >= 0)
    for token in range(first, end):
        place = _place(s, predictor, token, target)
        for i in range(place, place + predictor.width):
            if s.ids[i] >= 0:
                return True
    return False


@part
def _lead(s: Setup, r: Run, kind: int, target: int) -> int:
    """When ``target`` is expected to be routed, if nothing until then stalls."""
    layer, at = r.at.layer, r.at.gate_at
    launches = s.expert_launch_ns * (1 if s.grouped else s.top_k)
    cost = s.alone.steps[kind]
    own = cost.shared_ns + cost.moe_fixed_ns + cost.gate_ns
    for later in range(layer + 1, target + 1):
        before = s.alone.layers[kind][later]
        works = launches + s.top_k * s.alone.expert_ns[later - 1][1]
        at += own + works + before.prologue_ns + before.attention_ns
    return at


# A heap of predictions that are not out yet.


@part
def _sooner(a: Prediction, b: Prediction) -> bool:
    return a.out_at < b.out_at or (a.out_at == b.out_at and a.order < b.order)


@part
def _swap(pending: Table[Prediction], i: int, j: int) -> None:
    a, b = pending[i], pending[j]
    a.out_at, b.out_at = b.out_at, a.out_at
    a.order, b.order = b.order, a.order
    a.predictor, b.predictor = b.predictor, a.predictor
    a.index, b.index = b.index, a.index
    a.lead, b.lead = b.lead, a.lead


@part
def _put_in(r: Run, out: int, predictor: int, index: int, lead: int) -> None:
    i = r.at.pending
    one = r.pending[i]
    one.out_at, one.order = out, r.at.events
    one.predictor, one.index, one.lead = predictor, index, lead
    r.at.pending += 1
    r.at.events += 1
    while i > 0 and _sooner(r.pending[i], r.pending[(i - 1) >> 1]):
        _swap(r.pending, i, (i - 1) >> 1)
        i = (i - 1) >> 1


@part
def _take_out(r: Run) -> tuple[int, int, int]:
    """The prediction that is out first leaves the heap: (predictor, index, lead)."""
    pending, first = r.pending, r.pending[0]
    predictor, index, lead = first.predictor, first.index, first.lead
    r.at.pending -= 1
    last = r.at.pending
    if last > 0:
        _swap(pending, 0, last)
        i = 0
        while True:
            child = (i << 1) + 1
            if child >= last:
                break
            if child + 1 < last and _sooner(pending[child + 1], pending[child]):
                child += 1
            if not _sooner(pending[child], pending[i]):
                break
            _swap(pending, i, child)
            i = child
    return predictor, index, lead


@part
def act(s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, now: int) -> None:
    """A prediction is out: correct earlier ones, propose loads, protect residents."""
    number, index, lead = _take_out(r)
    if index <= r.at.routed_until:
        return  # too late: the layer is routed already
    step, target = index // s.layers, index % s.layers
    predictor, (first, end) = s.predictors[number], _rows(s, step)
    m, tokens = predictor.width, end - first
    place = _place(s, predictor, first, target)
    ids, scores = s.ids[place : place + m], s.scores[place : place + m]
    if tokens > 1:
        filled = 0
        for token in range(first, end):
            place = _place(s, predictor, token, target)
            for i in range(place, place + m):
                r.ids[filled], r.scores[filled] = s.ids[i], s.scores[i]
                filled += 1
        ids, scores = r.ids[:filled], r.scores[:filled]
    if s.cancels and s.predictor_count > 1:
        r.at.named += 1
        for i in range(len(ids)):
            if ids[i] >= 0:
                loader.loads[ids[i]].named = r.at.named
        loads.cancel(s, cache, path, loader, r, target, now)
    backlog = transfer_ns(r.at.outstanding, s.wire, 0.0) if s.timed else 0
    limits = Limits(s.top_k, s.extra, s.threshold, lead - now, backlog, s.load_ns[target])
    r.at.stamp += 1
    count = policies.propose(
        s.policy, ids, scores, tokens, limits, cache.resident,
        r.seen, r.at.stamp, r.out, r.priority,
    )  # fmt: skip
    loads.propose(s, cache, path, loader, r, count, now, index, number)
    if cache.predicted:
        for i in range(count):
            x = r.out[i]
            if cache.resident[x]:
                memory.predict(cache, x)
