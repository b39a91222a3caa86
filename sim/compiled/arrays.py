"""The kernel's memory: few flat tables, and names for their columns and scalars.

All integers are 64 bits unless said; times in ns, -1 where not reached; sizes in bytes; ``x`` a
flat expert id. Tables are few because the time to compile the kernel grows with their number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sim.eviction.base import State

Array = Any  # NDArray of the dtype and shape that the comment gives

FAR = 1 << 62  # later than any time, above any score

# Setup.of: what does not change in a run.
(
    LAYERS, EXPERTS, TOP_K, STEPS, HOOKS, STAGES, HOST, GROUPED, CANCEL, EXTRA, POLICY, TIMED,
    LAUNCH, KEEP,
) = range(14)  # fmt: skip
THRESHOLD, WIRE = range(2)  # Setup.real; WIRE: bytes a ns into the cache
COST, FIRST_ROW, PREFILL, REQUESTS = range(4)  # Setup.steps
TRIGGER, DISTANCE, INLINE, TABLE, WIDTH = range(5)  # Setup.hooks; TABLE: where in ids
AT_START, AT_GATE, AT_ROUTED = range(3)  # a hook's TRIGGER
STORAGE, LATENCY, CHUNK, LANES = range(4)  # Setup.link
GB_S, ISOLATED, QUEUED, STREAM_GB_S = range(4)  # Setup.rate; two of them ns before the bytes


class Setup(NamedTuple):
    """What a run is given. H predictors, S steps, L layers, E experts a layer, U step costs."""

    of: Array  # [14]
    real: Array  # float [2]
    steps: Array  # [S + 1, 4]
    rows: Array  # [tokens]: of the trace, by step
    routed: Array  # int32 [routed experts], by step and layer
    tokens: Array  # int32 [routed experts]: how many each serves
    first_routed: Array  # [S L + 1]
    layer_cost: Array  # [U, L, 2]: step_table.CostTable
    step_cost: Array  # [U, 5]
    expert: Array  # [L, most tokens + 1]: ns
    hooks: Array  # [H, 5]
    delay: Array  # [H, S]
    ids: Array  # int32: the tables [tokens, L, m] of all hooks, one after the other
    scores: Array  # float32
    link: Array  # [stage, 4]
    rate: Array  # float [stage, 4]
    load_ns: Array  # [L]: one queued load, for deadlines


EVICTION, NOW_AT, PASSED, PREDICTED, SPARED, KEPT_IN, PIN = range(7)  # Tier.of
IN_TREE, IN_LIST, OWN_QUEUES = range(3)  # Tier.of[KEPT_IN]: who keeps the order of leaving
PARTITION, BASE, LEAF = range(3)  # Tier.at
FREE, CAPACITY, ROOT, LEAVES, FIRST = range(5)  # Tier.part
BEFORE, AFTER, SCORE = range(3)  # Tier.order, in a list


class Tier(NamedTuple):
    """A memory level. ``x`` is pinned where ``pin[x]`` is ``of[PIN]``.

    ``order`` has, for each partition, its residents' scores. In a tree: rows of 8 from row ROOT
    (BASE of its experts) on. What stands at place p (row p // 8, column p % 8) is the lowest of row
    p + 2; from place LEAVES on are its experts in order, FAR where not resident. In a list: a ring
    of BEFORE and AFTER, from the head (row ROOT) to the lowest score and on; row x is expert x.
    """

    of: Array  # [7]: eviction, layer-step, which of the optional functions it has, the pin
    size: Array  # [x]
    at: Array  # int32 [x, 3]
    part: Array  # [partition, 5]
    resident: Array  # int8 [x]
    pin: Array  # [x]
    order: Array  # [rows, 8 or 4]
    victims: Array  # [x, 2]: scratch, experts and scores
    aside: Array  # [x, 2]: scratch
    state: State


# Loads.at: a load; an expert has at most one.
(
    FLYING, KEY, SEQ, ORIGIN, STARTED, NEEDED, LANDED, KEPT, SERVED, STORAGE_DONE,
    PREDICTOR, TARGET, ISSUED,
) = range(13)  # fmt: skip
READY, LEFT, PLACE = range(3)  # Loads.way: bytes to move now, not yet through; in the queue or -1
WAITING, ACTIVE, HEAD, FREE_AT = range(4)  # Loads.stage: queued; in service, from where; free
EXPERT, NBYTES, FINISH, ORDER = range(4)  # Loads.lane


class Loads(NamedTuple):
    """What is on its way, by expert and by stage of the way."""

    at: Array  # [x, 16]: rows of whole cache lines
    unused: Array  # int8 [x]: a prefetch landed and was not used yet
    way: Array  # [stage, x, 3]
    queue: Array  # [stage, x]: a heap by key, then by age
    stage: Array  # [stage, 4]
    lane: Array  # [stage, a power of two, 4]: a ring of chunks in service by FINISH, then ORDER
    noted: Array  # [layer, 4 E, 2]: prefetches for it in order of issue, and their SEQ
    noted_count: Array  # [layer]
    blocked: Array  # [x]: scratch
    arrived: Array  # [E]
    counts: Array  # [7]
    moved: Array  # [stage, origin]


# Run.of: where the run stands.
(
    PHASE, WAKE, STEP, LAYER, NOW, START, ROUTED_AT, GATE_AT, SIDE_FREE, BUSY, STEP_BUSY, BEGUN,
    ROUTED_UNTIL, UNPIN_AT, AWAITED, ARRIVED, LISTENING, STREAMING, DONE, FREE_FROM, DISPATCH,
    HITS, LATE_HITS, OUTSTANDING, LOADS, EVENTS, STAMP, KEEP_STAMP, PROPOSED, CHANGED, PENDING,
    LAYER_ROWS, STEP_ROWS, LOAD_ROWS, LOADS_LANDED, BROKEN, ENDED,
    AT_ONCE,
) = range(38)  # fmt: skip
OUT_AT, OUT_ORDER, OUT_HOOK, OUT_INDEX, OUT_LEAD = range(5)  # Run.pending
# What the forward pass waits for.
ROUTING, LANDING, STREAM, THE_END, OVER = range(5)


class Run(NamedTuple):
    """Where the run stands, its totals, and its records since they were last taken away."""

    of: Array  # [38]
    stalls: Array  # [4]: of the present layer
    seen: Array  # [x]: stamp
    out: Array  # [E]
    priority: Array  # [E]
    ids: Array  # int32: scratch for several tokens
    scores: Array  # float32
    pending: Array  # [n, 5]: predictions that are not out yet, a heap by time, then order
    counts: Array  # [prefill, layer, 3]: experts, hits, late
    stalled: Array  # [4]: of all layers
    layers: Array  # [rows, 12]
    steps: Array  # [rows, 7]
    loads: Array  # [rows, 10]
