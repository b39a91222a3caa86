"""The kernel's memory: named tuples of flat arrays, and the places in its arrays of scalars.

All integers are 64 bits unless said; times in ns, sizes in bytes, ``x`` a flat expert id.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sim.eviction.base import State

Array = Any  # NDArray of the dtype and shape that the comment gives

# Places in Setup.of: what does not change in a run.
(
    LAYERS, EXPERTS, TOP_K, STEPS, HOOKS, STAGES, HOST, GROUPED, CANCEL, EXTRA, POLICY, TIMED,
    LAUNCH,
) = range(13)  # fmt: skip

# Places in Run.of: where the run stands.
(
    PHASE, WAKE, STEP, LAYER, NOW, START, ROUTED_AT, GATE_AT, SIDE_FREE, BUSY, STEP_BUSY, BEGUN,
    ROUTED_UNTIL, UNPIN_AT, PINNED_LAYER, WAITING, ARRIVED, LISTENING, STREAMING, READY, FREE,
    DISPATCH, HITS, LATE, OUTSTANDING, LOADS, EVENTS, STAMP, KEPT, PROPOSED, CHANGED, PENDING,
    LAYER_ROWS, STEP_ROWS, LOAD_ROWS, BROKEN, ENDED,
) = range(37)  # fmt: skip

# What the forward pass waits for.
ROUTING, LANDING, STREAM, THE_END, OVER = range(5)


class Setup(NamedTuple):
    """What a run is given. H predictors, S steps, L layers, E experts a layer, U step costs."""

    of: Array  # [13]
    threshold: Array  # float [1]
    # Steps: rows of the trace, and routed sets.
    rows: Array  # [tokens], by step
    first_row: Array  # [S + 1]
    prefill: Array  # [S]
    requests: Array  # [S]
    routed: Array  # int32 [routed experts], by step and layer
    tokens: Array  # int32 [routed experts]: how many each serves
    first_routed: Array  # [S L + 1]
    # Costs.
    cost: Array  # [S]: which of the U
    attention: Array  # [U, L]
    prologue: Array  # [U, L]
    norm: Array  # [U]
    gate: Array  # [U]
    fixed: Array  # [U]
    shared: Array  # [U]
    epilogue: Array  # [U]
    expert: Array  # [L, most tokens + 1]
    # Predictors.
    trigger: Array  # [H]: 0 layer start, 1 gate input, 2 routed
    distance: Array  # [H]
    inline: Array  # [H]
    delay: Array  # [H, S]
    ids: Array  # int32: the tables [tokens, L, m] of all, one after the other
    scores: Array  # float32
    table: Array  # [H]: where each begins
    width: Array  # [H]: m
    # Links, by stage.
    storage: Array  # [stages]
    gb_s: Array  # float [stages]
    isolated: Array  # float [stages]: ns before the bytes
    queued: Array  # float [stages]
    stream: Array  # float [stages]
    latency: Array  # [stages]
    chunk: Array  # [stages], 0: none
    lanes: Array  # [stages]
    load_ns: Array  # [L]: one queued load, for deadlines
    wire: Array  # float [1]: bytes a ns into the cache


class Tier(NamedTuple):
    """A memory level. Each partition has a heap of its residents, in a segment of ``heap``.

    A resident has one entry, at ``bound`` at or below its ``score``: one that rises (LRU, LFU)
    waits there until the entry comes up.
    """

    size: Array  # [x]
    partition: Array  # [x]
    free: Array  # [partition]
    capacity: Array  # [partition]
    resident: Array  # [x]
    pinned: Array  # [x]
    score: Array  # [x]
    bound: Array  # [x]
    place: Array  # [x]: in its segment
    heap: Array  # [x]
    segment: Array  # [partition]: where it begins
    count: Array  # [partition]
    aside: Array  # [x]: scratch
    victims: Array  # [x]: scratch
    policy: Array  # [5]: eviction, layer-step, has passed, has predicted, has spared
    state: State


class Loads(NamedTuple):
    """What is on its way, by expert: one has at most one load. Times are -1 where not reached."""

    flying: Array  # [x]
    unused: Array  # [x]: a prefetch that landed, not used yet
    key: Array
    seq: Array
    origin: Array
    predictor: Array
    target: Array
    issued: Array
    started: Array
    needed: Array
    landed: Array
    storage_done: Array
    ready: Array  # [stage, x]: bytes to move now
    left: Array  # [stage, x]: bytes not yet through
    heap: Array  # [stage, x]: the queue
    place: Array  # [stage, x]: -1 where not queued
    waiting: Array  # [stage]: how many are
    lane_expert: Array  # [stage, lane]: chunks in service
    lane_bytes: Array
    lane_finish: Array
    lane_seq: Array
    active: Array  # [stage]
    blocked: Array  # [x]: scratch
    free_at: Array  # [stage]: when the link or the bus is free
    queued: Array  # [layer, 4 E]: prefetches for it, in order of issue
    queued_seq: Array
    queued_count: Array  # [layer]
    arrived: Array  # [E]
    counts: Array  # [7]
    moved: Array  # [stage, origin]


class Run(NamedTuple):
    """Where the run stands, and its records since they were last taken away."""

    of: Array  # [37]
    stalls: Array  # [4]
    served: Array  # [x]: tokens of the present layer
    seen: Array  # [x]: stamp
    kept: Array  # [x]: stamp
    out: Array  # [E]
    priority: Array  # [E]
    ids: Array  # int32: scratch for several tokens
    scores: Array  # float32
    # Predictions that are not out yet: a heap by time, then order.
    out_at: Array
    out_order: Array
    out_hook: Array
    out_index: Array
    out_lead: Array
    layers: Array  # [rows, 12]
    steps: Array  # [rows, 7]
    loads: Array  # [rows, 10]
