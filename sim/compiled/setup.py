"""From a run's inputs to the kernel's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim.compiled import policies
from sim.compiled.arrays import (
    A_BYTES,
    A_COUNT,
    A_END,
    A_HOOK,
    A_LANE,
    A_LAYER,
    A_LINK,
    A_LOAD,
    A_LOAD_ROW,
    A_PENDING,
    A_RING,
    A_STAGE,
    A_STEP,
    A_STEP_ROW,
    AFTER,
    ALL,
    BEFORE,
    CHUNK,
    CLASSES,
    FAR,
    FIRST_ROW,
    FREE_AT,
    LANES,
    ROUTED_UNTIL,
    STAGES,
    STORAGE,
    UNPIN_AT,
    WAKE,
    WIDTH,
    Loads,
    Run,
    Setup,
    Tier,
    Way,
)
from sim.compiled.tiers import integers, make_tier
from sim.cost import CostModel
from sim.device import SimulatedDevice
from sim.engine import Hook
from sim.eviction import lru
from sim.inputs import Inputs
from sim.memory import Tier as PlainTier
from sim.step_table import StepTable, cost_table, expert_table

TRIGGERS = ("layer_start", "gate_input", "routed")


def make_setup(
    inputs: Inputs,
    cost: CostModel,
    hooks: Sequence[Hook],
    device: SimulatedDevice,
    *,
    keep: bool,
    missed: Any,
) -> Setup:
    """Everything of the run that does not change in it; ``keep`` records of layers and loads.

    ``missed``: see ``Setup``; None where it is not known before.
    """
    config, workload = inputs.config, inputs.workload
    table = workload.table
    costs = cost_table(cost, table.kinds)
    expert = expert_table(cost, workload.layers, table.served)
    code = policies.POLICIES.index(inputs.policy)
    said = [hook.table for hook in hooks]
    where = np.cumsum([0, *(one.ids.size for one in said)])
    return Setup(
        layers=workload.layers,
        experts=workload.experts,
        top_k=workload.top_k,
        step_count=len(table.kind),
        hook_count=len(hooks),
        expert_columns=expert.shape[1],
        stages=len(device.stages),
        has_host=int(len(device.stages) > 1),
        grouped=int(config.overlap == "grouped"),
        cancels=int(config.prefetch.cancel_stale),
        extra=config.prefetch.extra,
        policy=code,
        timed=policies.TIMED[code],
        launch_ns=cost.expert_launch_ns,
        keeps=int(keep),
        known=int(missed is not None),
        threshold=np.float64(config.prefetch.threshold),  # a float would be rounded to scores' 32
        wire=float(device.bytes_per_ns),
        steps=_steps(table),
        rows=table.rows,
        routed=table.routed,
        tokens=table.tokens,
        first_routed=table.first_routed,
        layer_cost=costs.per_layer.ravel(),
        step_cost=costs.per_step.ravel(),
        expert=expert.ravel(),
        hooks=_rows(
            A_HOOK,
            [TRIGGERS.index(hook.trigger) for hook in hooks],
            [hook.distance for hook in hooks],
            [hook.inline for hook in hooks],
            where[:-1],
            [one.ids.shape[2] for one in said],
        ),
        delay=_delays(hooks, np.diff(table.first_row)),
        ids=_joined([one.ids for one in said], np.int32),
        scores=_joined([one.scores for one in said], np.float32),
        rate=_rates(device),
        load_ns=integers(device.load_ns),
        missed=np.zeros(0, dtype=np.int8) if missed is None else missed,
    )


def _delays(hooks: Sequence[Hook], lengths: Any) -> Any:
    """``Setup.delay``."""
    different, which = np.unique(lengths, return_inverse=True)
    delays = [[hook.delay_of(n) for n in different.tolist()] for hook in hooks]
    return integers(delays).reshape(len(hooks), len(different))[:, which].ravel()


def _joined(parts: list[Any], dtype: Any) -> Any:
    if len(parts) == 1:
        return np.ascontiguousarray(parts[0], dtype=dtype).ravel()
    return np.concatenate([np.empty(0, dtype), *(part.ravel() for part in parts)]).astype(dtype)


def _steps(table: StepTable) -> Any:
    columns = (table.kind, table.first_row, table.prefill, table.requests)
    room = len(table.first_row)  # one more than steps
    return _rows(A_STEP, *(np.append(c, np.zeros(room - len(c), np.int64)) for c in columns))


def _rates(device: SimulatedDevice) -> Any:
    """``Setup.rate``."""
    disk, wire = device.profile.storage, device.profile.host_link
    rates = []
    for server in device.stages:
        if server.name == "storage":
            rates.append((disk.gb_s.value, 0.0, 0.0, disk.stream_gb_s.value))
        else:
            assert wire is not None
            alphas = wire.isolated_us.value * 1e3, wire.back_to_back_us.value * 1e3
            rates.append((wire.gb_s.value, *alphas, 1.0))
    return np.array(rates, dtype=np.float64).ravel()


def _links(device: SimulatedDevice) -> Any:
    """``Way.link``."""
    disk = round(device.profile.storage.latency_us.value * 1e3)
    links = []
    for server in device.stages:
        is_disk = server.name == "storage"
        links.append((is_disk, disk if is_disk else 0, server.queue.chunk or 0, server.queue.lanes))
    return integers(links).ravel()


def _rows(width: int, *columns: Any) -> Any:
    """A flat table: ``columns``, and zeros up to ``width``."""
    table = np.zeros((len(columns[0]), width), dtype=np.int64)
    for i, column in enumerate(columns):
        table[:, i] = column
    return table.ravel()


def timeless(hooks: Sequence[Hook], cache: PlainTier, way: Way | None, table: StepTable) -> bool:
    """Whether time has no part in what hits: loads on demand alone, of sets that always fit."""
    if hooks or way is not None:
        return False
    largest = np.diff(table.first_routed).max(initial=0) * max(cache.sizes)
    return bool(largest <= min(cache.capacities))


def make_loads(s: Setup, device: SimulatedDevice) -> Loads:
    n, stages = s.layers * s.experts, s.stages
    queue = np.full((STAGES * (CLASSES + n), A_RING), -1, dtype=np.int64)
    ring = np.arange(CLASSES * STAGES).reshape(CLASSES, STAGES)  # a column is a stage's
    queue[ring, AFTER], queue[ring, BEFORE] = np.roll(ring, -1, 0), np.roll(ring, 1, 0)
    stage = np.zeros((stages, A_STAGE), dtype=np.int64)
    stage[:, FREE_AT] = [0 if server.name == "storage" else -1 for server in device.stages]
    return Loads(
        at=np.zeros(n * A_LOAD, dtype=np.int64),
        unused=np.zeros(n, dtype=np.int8),
        queue=queue.ravel(),
        stage=stage.ravel(),
        aside=np.zeros(n, dtype=np.int64),
        arrived=np.zeros(s.experts, dtype=np.int64),
    )


def make_way(device: SimulatedDevice, host: PlainTier | None, cache: Tier) -> Way | None:
    """What the way has beyond one host link that moves experts whole, if anything."""
    link = _links(device)
    chunk = int(link[CHUNK]) or FAR
    stages = len(link) // A_LINK
    if stages == 1 and not link[STORAGE] and chunk >= cache.size.max():
        return None
    lanes = 1 << (int(link[LANES::A_LINK].max()) - 1).bit_length()
    return Way(
        host=cache if host is None else make_tier(host, lru),
        lanes=lanes,
        link=link,
        bytes=np.zeros(len(cache.size) * A_BYTES, dtype=np.int64),
        lane=np.zeros(stages * lanes * A_LANE, dtype=np.int64),
    )


def make_run(s: Setup, steps: int) -> Run:
    """``steps``: how many the records have room for between two times they are taken away."""
    layers, experts, hooks = s.layers, s.experts, s.hook_count
    n = layers * experts
    tokens = int(np.diff(s.steps[FIRST_ROW::A_STEP]).max())
    several = tokens * int(s.hooks[WIDTH::A_HOOK].max(initial=1))
    loads = (2 * n + (steps + 1) * layers * experts * (hooks + 1)) * s.keeps
    room = 1024
    of = np.zeros(ALL, dtype=np.int64)
    of[[WAKE, UNPIN_AT, ROUTED_UNTIL]] = -1
    return Run(
        room=room,
        load_room=loads,
        of=of,
        seen=np.zeros(n, dtype=np.int64),
        ends=np.zeros(experts * A_END, dtype=np.int64),
        out=np.zeros(experts, dtype=np.int64),
        priority=np.zeros(experts, dtype=np.int64),
        ids=np.zeros(several, dtype=np.int32),
        scores=np.zeros(several, dtype=np.float32),
        pending=np.zeros((room + hooks) * A_PENDING, dtype=np.int64),
        counts=np.zeros(2 * layers * A_COUNT, dtype=np.int64),
        layers=np.zeros(steps * layers * A_LAYER * s.keeps, dtype=np.int64),
        steps=np.zeros(steps * A_STEP_ROW, dtype=np.int64),
        loads=np.zeros(loads * A_LOAD_ROW, dtype=np.int64),
    )
