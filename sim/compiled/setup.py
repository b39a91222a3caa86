"""From a run's inputs to the kernel's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from sim.compiled import policies
from sim.compiled.arrays import Loads, Run, Setup, Tier
from sim.cost import CostModel
from sim.device import SimulatedDevice
from sim.engine import Hook
from sim.eviction.base import Future, State
from sim.inputs import Inputs
from sim.memory import Tier as PlainTier
from sim.workload import Step, Workload

TRIGGERS = ("layer_start", "gate_input", "routed")


def integers(values: Any) -> Any:
    return np.array(values, dtype=np.int64)


def make_setup(
    inputs: Inputs, cost: CostModel, hooks: Sequence[Hook], device: SimulatedDevice
) -> Setup:
    """Everything of the run that does not change in it."""
    config, workload = inputs.config, inputs.workload
    kinds, read = _steps(workload)
    costs = _costs(cost, kinds)
    lengths = np.diff(read["first_row"]).tolist()
    code = policies.POLICIES.index(inputs.policy)
    tables = [hook.table for hook in hooks]
    sizes = [table.ids.size for table in tables]
    scalars = (
        workload.layers, workload.experts, workload.top_k, len(lengths), len(hooks),
        len(device.stages), len(device.stages) > 1, config.overlap == "grouped",
        config.prefetch.cancel_stale, config.prefetch.extra, code, policies.TIMED[code],
        cost.expert_launch_ns,
    )  # fmt: skip
    served = np.unique(read["tokens"])
    expert = np.zeros((workload.layers, int(max(served, default=1)) + 1), dtype=np.int64)
    for layer in range(workload.layers):
        for n in {1, *(int(n) for n in served)}:
            expert[layer, n] = cost.expert_ns(layer, n)
    return Setup(
        of=integers(scalars),
        threshold=np.array([config.prefetch.threshold]),
        **read,
        **costs,
        expert=expert,
        trigger=integers([TRIGGERS.index(hook.trigger) for hook in hooks]),
        distance=integers([hook.distance for hook in hooks]),
        inline=integers([hook.inline for hook in hooks]),
        delay=integers([[hook.delay_of(n) for n in lengths] for hook in hooks]).reshape(
            len(hooks), len(lengths)
        ),
        ids=_joined([table.ids for table in tables], np.int32),
        scores=_joined([table.scores for table in tables], np.float32),
        table=integers(np.cumsum([0, *sizes])[:-1]),
        width=integers([table.ids.shape[2] for table in tables]),
        **_links(device),
        load_ns=integers(device.load_ns),
        wire=np.array([device.bytes_per_ns], dtype=np.float64),
    )


def _joined(parts: list[Any], dtype: Any) -> Any:
    if len(parts) == 1:
        return np.ascontiguousarray(parts[0], dtype=dtype).ravel()
    return np.concatenate([np.empty(0, dtype), *(part.ravel() for part in parts)]).astype(dtype)


@lru_cache(maxsize=2)
def _steps(workload: Workload) -> tuple[list[Step], dict[str, Any]]:
    """One step of each kind of cost, and what the kernel reads of all: the same for all runs."""
    steps = list(workload.steps())
    layers = workload.layers
    lengths = np.array([len(step.rows) for step in steps])
    alone = lengths == 1
    flat = workload.flat[[step.rows[0] for step in steps]]  # [steps, layers, k]
    counts = np.where(alone[:, None], (flat >= 0).sum(axis=2), 0)
    several = {}
    for number in np.flatnonzero(~alone):
        for layer in range(layers):
            ids, served = workload.routed(steps[number], layer)
            assert served is not None  # of several tokens
            several[number, layer] = ids, served
            counts[number, layer] = len(ids)
    first = np.concatenate([[0], np.cumsum(counts)])
    routed = np.empty(int(first[-1]), dtype=np.int32)
    tokens = np.ones(len(routed), dtype=np.int32)
    of_one = np.repeat(np.repeat(alone, layers), counts.ravel())
    routed[of_one] = flat[alone][flat[alone] >= 0]
    for (number, layer), (ids, served) in several.items():
        at = first[number * layers + layer]
        routed[at : at + len(ids)] = ids
        tokens[at : at + len(ids)] = served
    kinds: dict[Any, tuple[int, Step]] = {}
    cost = [
        kinds.setdefault((step.prefill, step.tokens, step.contexts), (len(kinds), step))[0]
        for step in steps
    ]
    return [step for _, step in kinds.values()], {
        "cost": integers(cost),
        "rows": integers([row for step in steps for row in step.rows]),
        "first_row": integers(np.concatenate([[0], np.cumsum(lengths)])),
        "prefill": integers([step.prefill for step in steps]),
        "requests": integers([len(step.requests) for step in steps]),
        "routed": routed,
        "tokens": tokens,
        "first_routed": integers(first),
    }


def _costs(cost: CostModel, kinds: Sequence[Step]) -> dict[str, Any]:
    """Step costs, one of each kind."""
    found = [cost.step(step.phase, step.tokens, step.contexts) for step in kinds]
    return {
        "attention": integers([one.attention_ns for one in found]),
        "prologue": integers([one.prologue_ns for one in found]),
        "norm": integers([one.norm_ns for one in found]),
        "gate": integers([one.gate_ns for one in found]),
        "fixed": integers([one.moe_fixed_ns for one in found]),
        "shared": integers([one.shared_ns for one in found]),
        "epilogue": integers([one.epilogue_ns for one in found]),
    }


def _links(device: SimulatedDevice) -> dict[str, Any]:
    """The stages of ``device`` as numbers, by stage."""
    profile = device.profile
    rows = []
    for server in device.stages:
        if server.name == "storage":
            disk = profile.storage
            latency = round(disk.latency_us.value * 1e3)
            rows.append((1, disk.gb_s.value, 0.0, 0.0, disk.stream_gb_s.value, latency))
        else:
            wire = profile.host_link
            assert wire is not None
            alphas = wire.isolated_us.value * 1e3, wire.back_to_back_us.value * 1e3
            rows.append((0, wire.gb_s.value, *alphas, 1.0, 0))
    storage, gb_s, isolated, queued, stream, latency_ns = zip(*rows)
    return {
        "storage": integers(storage),
        "gb_s": np.array(gb_s, dtype=np.float64),
        "isolated": np.array(isolated, dtype=np.float64),
        "queued": np.array(queued, dtype=np.float64),
        "stream": np.array(stream, dtype=np.float64),
        "latency": integers(latency_ns),
        "chunk": integers([server.chunk or 0 for server in device.stages]),
        "lanes": integers([server.lanes for server in device.stages]),
    }


def make_tier(plain: PlainTier, eviction: ModuleType) -> Tier:
    """A tier as it stands before the run (warm or not), in arrays."""
    n = len(plain.sizes)
    code = policies.EVICTIONS.index(eviction)
    partition = integers(plain.partition_of)
    per_partition = np.bincount(partition, minlength=len(plain.capacities))
    own, shared, future = plain.state
    tier = Tier(
        size=integers(plain.sizes),
        partition=partition,
        free=integers(plain.free),
        capacity=integers(plain.capacities),
        resident=integers(plain.resident),
        pinned=np.zeros(n, dtype=np.int64),
        score=integers(plain.scores),
        bound=integers(plain.scores),
        place=np.full(n, -1, dtype=np.int64),
        heap=np.zeros(n, dtype=np.int64),
        segment=integers(np.concatenate([[0], np.cumsum(per_partition)[:-1]])),
        count=np.zeros(len(plain.capacities), dtype=np.int64),
        aside=np.zeros(n, dtype=np.int64),
        victims=np.zeros(n, dtype=np.int64),
        policy=integers([code, -1, *policies.HOOKS[code]]),
        state=State(
            integers(own),
            integers(shared),
            Future(
                np.ascontiguousarray(future.positions, dtype=np.int32),
                integers(future.start),
                integers(future.cursor),
            ),
        ),
    )
    for p in range(len(plain.capacities)):  # a sorted array is a heap
        inside = np.flatnonzero((tier.resident == 1) & (partition == p))
        order = inside[np.lexsort((inside, tier.score[inside]))]
        tier.heap[tier.segment[p] : tier.segment[p] + len(order)] = order
        tier.place[order] = np.arange(len(order))
        tier.count[p] = len(order)
    return tier


def make_loads(s: Setup, layers: int, experts: int) -> Loads:
    n, stages = layers * experts, len(s.lanes)

    def per_expert() -> Any:
        return np.zeros(n, dtype=np.int64)

    def per_lane() -> Any:
        return np.zeros((stages, int(s.lanes.max())), dtype=np.int64)

    return Loads(
        **{name: per_expert() for name in (
            "flying", "unused", "key", "seq", "origin", "predictor", "target", "issued", "started",
            "needed", "landed", "storage_done", "blocked",
        )},
        **{name: np.zeros((stages, n), dtype=np.int64) for name in ("ready", "left", "heap")},
        **{name: per_lane() for name in ("lane_expert", "lane_bytes", "lane_finish", "lane_seq")},
        place=np.full((stages, n), -1, dtype=np.int64),
        waiting=np.zeros(stages, dtype=np.int64),
        active=np.zeros(stages, dtype=np.int64),
        free_at=integers([0 if storage else -1 for storage in s.storage]),
        queued=np.zeros((layers, 4 * experts), dtype=np.int64),
        queued_seq=np.zeros((layers, 4 * experts), dtype=np.int64),
        queued_count=np.zeros(layers, dtype=np.int64),
        arrived=np.zeros(experts, dtype=np.int64),
        counts=np.zeros(7, dtype=np.int64),
        moved=np.zeros((stages, 2), dtype=np.int64),
    )  # fmt: skip


def make_run(s: Setup, layers: int, experts: int, steps: int) -> Run:
    """``steps``: how many the records have room for between two times they are taken away."""
    n, hooks = layers * experts, len(s.trigger)
    several = int(np.diff(s.first_row).max()) * int(s.width.max(initial=1))
    of = np.zeros(37, dtype=np.int64)
    loads = 2 * n + (steps + 1) * layers * experts * (hooks + 1)
    pending = 1024 + 3 * hooks
    return Run(
        of=of,
        stalls=np.zeros(4, dtype=np.int64),
        served=np.zeros(n, dtype=np.int64),
        seen=np.zeros(n, dtype=np.int64),
        kept=np.zeros(n, dtype=np.int64),
        out=np.zeros(experts, dtype=np.int64),
        priority=np.zeros(experts, dtype=np.int64),
        ids=np.zeros(several, dtype=np.int32),
        scores=np.zeros(several, dtype=np.float32),
        out_at=np.zeros(pending, dtype=np.int64),
        out_order=np.zeros(pending, dtype=np.int64),
        out_hook=np.zeros(pending, dtype=np.int64),
        out_index=np.zeros(pending, dtype=np.int64),
        out_lead=np.zeros(pending, dtype=np.int64),
        layers=np.zeros((steps * layers, 12), dtype=np.int64),
        steps=np.zeros((steps, 7), dtype=np.int64),
        loads=np.zeros((loads, 10), dtype=np.int64),
    )
