"""The kernel's memory: few flat tables, and names for their columns and scalars.

All integers are 64 bits unless said; times in ns, -1 where not reached; sizes in bytes; ``x`` a
flat expert id. Tables are flat, and read through bare pointers (``pointers``): column C of row i
stands at ``i * A_LOAD + C``, where ``A_LOAD`` is the width of a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sim.compiled.rows import Row, Table
from sim.eviction.base import State

Array = Any  # NDArray [items], int64 unless the comment says otherwise

FAR = 1 << 62  # later than any time, above any score

COST, FIRST_ROW, PREFILL, REQUESTS = range(4)  # Setup.steps
A_STEP = 4  # columns
A_LAYER_COST, A_STEP_COST = 2, 5  # columns of Setup.layer_cost, Setup.step_cost
TRIGGER, DISTANCE, INLINE, TABLE, WIDTH = range(5)  # Setup.hooks; TABLE: where in ids
A_HOOK = 8  # columns
AT_START, AT_GATE, AT_ROUTED = range(3)  # a hook's TRIGGER
GB_S, ISOLATED, QUEUED, STREAM_GB_S = range(4)  # Setup.rate; two of them ns before the bytes
A_RATE = 4  # columns
STAGES = 2  # that a load's way has at most: off storage, over the host link
CLASSES = 3  # of loads that wait: see Loads


class Setup(NamedTuple):
    """What a run is given, and does not change. Numbers, and tables of predictors, steps, layers,
    step costs; what is true or false is 1 or 0.
    """

    layers: int
    experts: int  # a layer
    top_k: int
    step_count: int
    hook_count: int
    expert_columns: int  # of expert
    stages: int  # of a load's way
    has_host: int  # a tier of host memory
    grouped: int
    cancels: int
    extra: int
    policy: int
    timed: int  # the policy needs times
    launch_ns: int  # of an expert, or of a group
    known: int  # whether hits and misses are, from ``missed``
    keeps: int  # records of each layer and load
    threshold: float
    wire: float  # bytes a ns into the cache
    steps: Array  # [steps + 1 rows]
    rows: Array  # [tokens]: of the trace, by step
    routed: Array  # int32 [routed experts], by step and layer
    tokens: Array  # int32 [routed experts]: how many each serves
    first_routed: Array  # [layer-steps + 1]
    layer_cost: Array  # [step cost, layer rows]: step_table.CostTable
    step_cost: Array  # [step cost rows]
    expert: Array  # [layer, tokens]: ns
    hooks: Array  # [hook rows]
    delay: Array  # [hook, step]
    ids: Array  # int32: the tables [tokens, layers, m] of all hooks, one after the other
    scores: Array  # float32
    rate: Array  # float [stage rows]
    load_ns: Array  # [layer]: one queued load, for deadlines
    missed: Array  # int8 [routed]: 1 what is not there when it is needed; empty unless ``known``


BEFORE, AFTER = range(2)  # Loads.queue
A_RING = 2  # columns

IN_TREE, IN_LIST, OWN_QUEUES = range(3)  # Tier.kept_in: who keeps the order of leaving
FANOUT = 8  # of Tier.tree; order._least, _above and _below are for eight


class Moment(Row):
    """What counts in a tier now."""

    now: int  # the layer-step
    pin: int


class Expert(Row):
    """Where an expert stands in a tier."""

    partition: int
    root: int  # of its partition
    leaf: int  # its place there
    layer: int
    noted: int  # whether it stands in the news


class Partition(Row):
    free: int
    capacity: int
    root: int  # where it begins in Tier.tree, or its head in Tier.list
    leaves: int  # the place of its first expert in the tree
    first: int  # expert
    used: int  # bytes of residents


class Listed(Row):
    before: int
    after: int
    score: int


class Candidate(Row):
    """One who was next to leave, with the score that it had."""

    expert: int
    score: int


class Tier(NamedTuple):
    """A memory level. ``x`` is pinned where ``pin[x]`` is ``at.pin`` or more.

    ``tree`` has, for each partition, its residents' scores in rows of FANOUT, from ``root`` on.
    What stands at its place p, in row p // FANOUT, is the lowest of row p + 2, or less; from place
    ``leaves`` on are its experts in order, FAR where not resident. ``list`` has a ring for each
    partition, from its head (row ``root``) to the lowest score and on; row x is of x. One of both
    is kept.

    ``news``, where the eviction has ``passed``: for each layer how many of its experts were used,
    arrived or were predicted since it last heard of them so, and which.
    """

    eviction: int
    passed: int  # whether it has this function
    predicted: int
    spared: int
    kept_in: int
    layers: int
    width: int  # experts a layer
    at: Moment
    size: Array  # [x]
    experts: Table[Expert]  # [x]
    partitions: Table[Partition]
    resident: Array  # int8 [x]
    pin: Array  # [x]
    tree: Array  # [places]
    list: Table[Listed]
    news: Array  # [layer][1 + experts a layer]
    victims: Table[Candidate]  # [x]: scratch
    passed_over: Table[Candidate]  # [x]: scratch
    state: State


# Loads.at: a load; an expert has at most one.
(
    FLYING, KEY, SEQ, ORIGIN, STARTED, NEEDED, LANDED, KEPT, SERVED, STORAGE_DONE, PREDICTOR,
    TARGET, ISSUED,
) = range(13)  # fmt: skip
A_LOAD = 16  # columns
DEMAND_KEY, PREFETCH_KEY, PRIORITY = 0, 1 << 60, 1 << 48  # KEY: what is loaded first
# Loads.stage: how many are in service; when it is free; what is in service, if one.
ACTIVE, FREE_AT, MOVING, HEAD = range(4)  # HEAD: where Way.lane begins
A_STAGE = 4  # columns


class Loads(NamedTuple):
    """What is on its way, by expert and by stage of the way.

    ``queue`` has a ring for each stage, of BEFORE and AFTER, from its head (row ``stage``) to the
    load that is first by key, then by age, and on. Marks (rows ``STAGES + stage``, ``2 STAGES +
    stage``) part demands, prefetches of priority 0 and the rest, so that each joins at the end of
    its own. Row ``STAGES (CLASSES + x) + stage`` is of ``x``; AFTER is -1 where it does not wait.
    """

    at: Array  # [x rows]
    unused: Array  # int8 [x]: a prefetch landed and was not used yet
    queue: Array  # [rows]
    stage: Array  # [stage rows]
    aside: Array  # [x]: scratch
    arrived: Array  # [E]


READY, LEFT = range(2)  # Way.bytes: to move now, not yet through
A_BYTES = 4  # columns: those two for each stage
STORAGE, LATENCY, CHUNK, LANES = range(4)  # Way.link
A_LINK = 4  # columns
EXPERT, NBYTES, FINISH, ORDER = range(4)  # Way.lane
A_LANE = 4  # columns


class Way(NamedTuple):
    """What a load's way needs beyond one host link: several stages, storage, chunks.

    The kernel is compiled once with it, and once for None in its place, which is a host link that
    moves experts whole: the most frequent way, and quicker without all this.
    """

    host: Tier  # any one where Setup.has_host is 0
    lanes: int  # rows of lane for each stage, a power of two
    link: Array  # [stage rows]
    bytes: Array  # [x rows]
    lane: Array  # [stage, lane rows]: a ring of chunks in service by FINISH, then ORDER


# Run.of: where the run stands.
(
    PHASE, WAKE, STEP, LAYER, NOW, START, ROUTED_AT, GATE_AT, SIDE_FREE, BUSY, STEP_BUSY, BEGUN,
    ROUTED_UNTIL, UNPIN_AT, AWAITED, ARRIVED, LISTENING, STREAMING, FREE_FROM, DISPATCH,
    GROUP_END, COMPUTED, UNPINNED,
    HITS, LATE_HITS, OUTSTANDING, LOADS, EVENTS, STAMP, KEEP_STAMP, PROPOSED, CHANGED, PENDING,
    LAYER_ROWS, STEP_ROWS, LOAD_ROWS, LOADS_LANDED, BROKEN, ENDED,
) = range(39)  # fmt: skip
STALLS = ENDED + 1  # of the present layer, by kind
STALLED = STALLS + 4  # of all layers
COUNTS = STALLED + 4  # of loads, by disposition
MOVED = COUNTS + 6  # bytes, by stage and origin
ALL = MOVED + 4
OUT_AT, OUT_ORDER, OUT_HOOK, OUT_INDEX, OUT_LEAD = range(5)  # Run.pending
A_PENDING = 8  # columns
A_COUNT, A_LAYER, A_STEP_ROW, A_LOAD_ROW = 3, 12, 7, 10  # of Run.counts, layers, steps, loads
# What the forward pass waits for.
ROUTING, LANDING, THE_END, OVER = range(4)
END_AT, END_OF = range(2)  # Run.ends
A_END = 2  # columns


class Run(NamedTuple):
    """Where the run stands, its totals, and its records since they were last taken away."""

    room: int  # rows of pending; beyond them, one a predictor, which a layer may need
    load_room: int  # rows of loads
    of: Array  # [ALL]
    seen: Array  # [x]: stamp
    ends: Array  # [E rows]: of a set that streams, when experts will have been computed
    out: Array  # [E]
    priority: Array  # [E]
    ids: Array  # int32: scratch for several tokens
    scores: Array  # float32
    pending: Array  # [n rows]: predictions that are not out yet, a heap by time, then order
    counts: Array  # [prefill, layer rows]: experts, hits, late
    layers: Array  # [rows]
    steps: Array  # [rows]
    loads: Array  # [rows]
