"""The rest of the kernel's memory (``arrays``) says where a run stands, its totals and records."""

from __future__ import annotations

from typing import NamedTuple

from prefetch_sim.sim.compiled.arrays import Array
from prefetch_sim.sim.jit.rows import Grid, Row, Table

# Progress.phase: what the forward pass waits for.
ROUTING, LANDING, STARTING, THE_END, OVER = range(5)
TOO_MANY_LOADS, STUCK = 1, 2  # Progress.broken


class Progress(Row):
    phase: int
    wake: int  # when the pass goes on
    ended: int  # when the layer has, or the wait for its start; -1: not yet
    step: int
    layer: int
    first: int  # of its routed set in Setup.routed
    end: int  # of that
    now: int
    start: int  # of the layer
    routed_at: int
    gate_at: int  # when it is routed, predictors inline apart
    side_free: int  # when the side engine is
    busy: int  # ns that the compute engine was
    step_busy: int  # that until the step
    begun: int  # the step
    routed_until: int  # the last layer-step whose routing is known
    unpin_at: int
    waiting: int  # demanded experts that have not landed
    arrived: int  # rows of Loader.arrived
    listening: int  # the pass hears of landings
    streams: int  # the set is larger than the cache
    free: int  # when the compute engine is through with what has been worked out
    dispatch: int  # whether the next group is charged permuting
    group_end: int
    computed: int  # rows of Run.computed
    unpinned: int  # of these
    hits: int
    late: int
    ahead: int  # ns of bookkeeping for what has landed before it was needed
    bookkeeping: int  # ns, of the layer
    booked: int  # ns, of the run
    outstanding: int  # bytes asked for and not landed
    moving: int  # of those, of loads that have begun
    seq: int  # loads so far
    events: int
    stamp: int  # of Run.seen
    named: int  # of Load.named
    proposed: int
    changed: int  # a load was queued, landed or cancelled, or room was made
    pending: int  # rows of Run.pending
    layer_rows: int
    step_rows: int
    load_rows: int
    landed: int  # loads
    broken: int  # 0, or what went wrong


class Stalls(Row):
    demand: int
    late: int
    queue: int
    storage: int
    cpu: int


class Computed(Row):
    """When an expert of a set that streams will have been computed."""

    end: int
    expert: int


class Prediction(Row):
    """One that is not out yet."""

    out_at: int
    order: int
    predictor: int
    index: int  # the layer-step
    lead: int


class Total(Row):
    """As ``records.COUNTS``."""

    experts: int
    hits: int
    late: int
    cpu: int


class LayerRow(Row):
    """As ``records.LayerRecords``."""

    step: int
    layer: int
    experts: int
    hits: int
    late: int
    cpu: int
    start: int
    routed: int
    end: int
    stall_demand: int
    stall_late: int
    stall_queue: int
    stall_storage: int
    stall_cpu: int


class StepRow(Row):
    """As ``records.StepRecords``."""

    step: int
    prefill: int
    requests: int
    tokens: int
    start: int
    end: int
    compute: int


class LoadRow(Row):
    """As ``records.LoadRecords``."""

    expert: int
    origin: int
    predictor: int
    target: int
    disposition: int
    issued: int
    started: int
    landed: int
    needed: int
    settled: int


class Run(NamedTuple):
    """Where the run stands, its totals, and its records since they were last taken away."""

    room: int  # rows of pending; beyond them, one a predictor, which a layer may need
    load_room: int  # rows of loads
    at: Progress
    stalls: Stalls  # so far
    stalls_before: Stalls  # the present layer, where its record is kept
    counts: Array  # [of decode and prefill][disposition]
    moved_bytes: Array  # [stage][origin]
    totals: Grid[Total]  # [prefill][layer]
    seen: Array  # [x]: stamp
    computed: Table[Computed]  # [experts a layer]
    out: Array  # [experts a layer]
    priority: Array  # [experts a layer]
    ids: Array  # int32: scratch for several tokens
    scores: Array  # float32
    pending: Table[Prediction]  # a heap by time, then order
    layers: Table[LayerRow]
    steps: Table[StepRow]
    loads: Table[LoadRow]
