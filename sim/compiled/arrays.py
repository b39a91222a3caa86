"""The kernel's memory is tables of named rows (``rows``) and flat arrays.

All integers are 64 bits unless said; times in ns, -1 where not reached; sizes in bytes; ``x`` a
flat expert id. A field of several axes is read one after the other: ``expert_ns[layer][tokens]``.
Names are those of the SimPy engine where it has the same thing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from prefetch_sim.sim.eviction.base import State
from prefetch_sim.sim.jit.rows import Grid, Row, Table

Array = Any  # NDArray, int64 unless the comment says otherwise

FAR = 1 << 62  # later than any time, above any score

# What does not change in a run.

AT_START, AT_GATE, AT_ROUTED = range(3)  # Predictor.trigger
STAGES = 2  # that a load path has at most: off storage, over the host link
CLASSES = 4  # of loads that wait: see Loader


class Step(Row):
    kind: int  # of costs
    first_row: int  # in Setup.rows
    prefill: int
    requests: int


class LayerCost(Row):
    prologue_ns: int
    attention_ns: int


class StepCost(Row):
    norm_ns: int
    gate_ns: int
    moe_fixed_ns: int
    shared_ns: int
    epilogue_ns: int


class Costs(NamedTuple):
    """How long it takes to compute."""

    layers: Grid[LayerCost]  # [kind][layer]
    steps: Table[StepCost]  # [kind]
    expert_ns: Array  # [layer][tokens]


class Predictor(Row):
    """An active predictor."""

    trigger: int
    distance: int
    inline: int
    table: int  # where its table begins in Setup.ids
    width: int  # of that table


class Rate(Row):
    """How fast a stage is."""

    bytes_per_ns: float
    contended_bytes_per_ns: float  # while the CPU computes experts
    isolated_ns: float  # before the bytes
    queued_ns: float  # the same right behind another transfer
    more_ns: float  # the same of an expert's copies but the first
    stream_bytes_per_ns: float
    copies: int  # an expert


class Setup(NamedTuple):
    """What a run is given, and does not change. What is true or false is 1 or 0."""

    layers: int
    experts: int  # a layer
    top_k: int
    step_count: int
    predictor_count: int
    stages: int  # of the load path
    has_host: int  # a tier of host memory
    grouped: int
    shared_waits: int  # shared experts are computed with the first group
    cancels: int
    extra: int
    policy: int
    timed: int  # the policy needs times
    expert_launch_ns: int  # of an expert, or of a group
    known: int  # whether hits and misses are, from ``missed``
    keeps: int  # records of each layer and load
    slows: int  # what computes beside loads takes longer
    threshold: float
    wire: float  # bytes a ns into the cache
    steps: Table[Step]  # [steps + 1]
    rows: Array  # [tokens]: of the trace, by step
    routed: Array  # int32 [routed experts], by step and layer
    tokens: Array  # int32 [routed experts]: how many each serves
    first_routed: Array  # [layer-steps + 1]
    alone: Costs  # of what computes while no load is queued or moves
    beside: Costs | None  # and beside loads; None where LoadPath is
    predictors: Table[Predictor]
    delay: Array  # [predictor][step]
    ids: Array  # int32: the tables [tokens, layers, m] of all predictors, one after the other
    scores: Array  # float32
    miss_ns: Array  # [layer]: bookkeeping for one expert that was loaded
    rates: Table[Rate]  # [stage]
    load_ns: Array  # [layer]: one queued load, for deadlines
    missed: Array  # int8 [routed]: 1 what is not there when it is needed; empty unless ``known``


# Memory tiers.

IN_TREE, IN_LIST, OWN_QUEUES = range(3)  # Tier.kept_in: who keeps the order of leaving
ABSENT, THERE, STATIC = range(3)  # Tier.resident: not, until it leaves, for good
FANOUT = 8  # of Tier.tree; order._least, _above and _below are for eight


class Moment(Row):
    """What counts in a tier now."""

    now: int  # number of the last layer-step routed
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
    room: int  # beside static experts
    root: int  # where it begins in Tier.tree, or its head in Tier.list
    leaves: int  # the place of its first expert in the tree
    first: int  # expert
    used: int  # bytes of who may leave: kept where an eviction has queues of its own


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

    ``news``, where the eviction has ``not_routed``: for each layer how many of its experts were
    used, arrived or were predicted since it last heard of them so, and which.
    """

    eviction: int
    not_routed: int  # whether it has this function
    predicted: int
    spared: int
    kept_in: int
    layers: int
    width: int  # experts a layer
    at: Moment
    size: Array  # [x]
    experts: Table[Expert]  # [x]
    partitions: Table[Partition]
    resident: Array  # int8 [x]: STATIC of which the eviction never hears
    pin: Array  # [x]
    tree: Array  # [places]
    list: Table[Listed]
    news: Array  # [layer][1 + experts a layer]
    victims: Table[Candidate]  # [x]: scratch
    passed_over: Table[Candidate]  # [x]: scratch
    state: State


# Loads.


class Load(Row):
    """A load; an expert has at most one."""

    in_flight: int
    key: int
    seq: int
    origin: int
    started: int
    needed: int
    landed: int
    storage_done: int
    named: int  # the last stamp at which it was to be kept
    tokens: int  # that the expert serves
    predictor: int
    target: int
    issued: int


class Node(Row):
    before: int
    after: int


class Server(Row):
    """A stage of the load path at work."""

    in_service: int  # how many chunks
    free_at: int  # the link, or storage's bus
    moving: int  # what is in service, if one
    head: int  # where LoadPath.lanes begins


class Loader(NamedTuple):
    """What is queued or moving, by expert and by stage of the load path.

    ``queue`` has a ring for each stage, from its head (row ``stage``) to the load that is first by
    key, then by age, and on. Marks (rows ``STAGES + stage``, ``2 STAGES + stage`` and so on) part
    demands, prefetches of priority 0, the other prefetches and loads behind, so that each joins at
    the end of its own. Row ``STAGES (CLASSES + x) + stage`` is of ``x``; ``after`` is -1 where it
    does not wait.
    """

    loads: Table[Load]  # [x]
    unused: Array  # int8 [x]: a prefetch landed and was not used yet
    queue: Table[Node]
    servers: Table[Server]  # [stage]
    cancelled: Array  # [x]: scratch
    arrived: Array  # [experts a layer]: demanded loads that landed since the pass last looked


class Bytes(Row):
    """Of a load at a stage."""

    ready: int  # to be moved now
    left: int  # not yet through


class Link(Row):
    storage: int  # whether it is
    latency_ns: int
    chunk: int
    lanes: int


class Lane(Row):
    """A chunk in service."""

    expert: int
    nbytes: int
    finish: int
    order: int


class CpuMoment(Row):
    here: int  # experts of the layer that the CPU does not compute: rows of Cpu.routed
    count: int  # rows of Cpu.experts
    end: int  # when it is through with the layer's
    until: int  # when it is through with the last that it was given


class Cpu(NamedTuple):
    """What the CPU's experts need. The kernel is compiled once with it, and once for None."""

    policy: int
    behind: int  # what it computes is loaded behind
    up_to: int
    at: CpuMoment
    expert_ns: Array  # [layer][tokens]
    contended_ns: Array  # the same while the link moves experts
    fixed_ns: Array  # [step]: beside its experts
    load_ns: Array  # [layer]: one queued load
    routed: Array  # int32 [experts a layer]: the set but for what it computes
    tokens: Array  # int32, of these
    experts: Array  # [experts a layer]: what it computes
    ns: Array  # [experts a layer]: of what it may compute
    state: Array  # likewise
    chosen: Array  # likewise


class LoadPath(NamedTuple):
    """What a load needs beyond one host link: several stages, storage, chunks.

    The kernel is compiled once with it, and once for None in its place, which is a host link that
    moves experts whole and slows nothing down: the most frequent, and quicker without all this.
    """

    host: Tier  # any one where Setup.has_host is 0
    width: int  # of lanes, a power of two
    links: Table[Link]  # [stage]
    bytes: Grid[Bytes]  # [stage][x]
    lanes: Grid[Lane]  # [stage]: a ring of chunks in service by finish, then order
