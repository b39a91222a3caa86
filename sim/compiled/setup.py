"""Makes the kernel's tables from a run's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prefetch_sim.sim.compiled import policies
from prefetch_sim.sim.compiled.arrays import (
    STAGES,
    Costs,
    Cpu,
    CpuMoment,
    LayerCost,
    LoadPath,
    Predictor,
    Rate,
    Setup,
    Step,
    StepCost,
)
from prefetch_sim.sim.compiled.progress import (
    Computed,
    LayerRow,
    LoadRow,
    Prediction,
    Progress,
    Run,
    Stalls,
    StepRow,
    Total,
)
from prefetch_sim.sim.cost import transfers
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.cost.tables import cost_table, cpu_table, expert_table
from prefetch_sim.sim.engine.active_predictor import ActivePredictor
from prefetch_sim.sim.engine.load import DISPOSITIONS, ORIGINS
from prefetch_sim.sim.engine.tier import Tier as PlainTier
from prefetch_sim.sim.jit.rows import column, table
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.workload.step_table import StepTable, integers

TRIGGERS = ("layer_start", "gate_input", "routed")


def make_setup(
    inputs: Inputs,
    cost: CostModel,
    predictors: Sequence[ActivePredictor],
    path: transfers.LoadPath,
    *,
    plain: bool,
    keep: bool,
    missed: Any,
) -> Setup:
    """Everything of the run that does not change in it; ``keep`` records of layers and loads.

    ``plain``: the load path is a host link alone (``arrays.LoadPath`` None). ``missed``: see
    ``Setup``; None where it is not known before.
    """
    config, workload = inputs.config, inputs.workload
    steps = workload.table
    slower = cost.beside_loads or cost
    code = policies.POLICIES.index(inputs.policy)
    said = [predictor.table for predictor in predictors]
    where = np.cumsum([0, *(one.ids.size for one in said)])
    return Setup(
        layers=workload.layers,
        experts=workload.experts,
        top_k=workload.top_k,
        step_count=len(steps.kind),
        predictor_count=len(predictors),
        stages=len(path.stages),
        has_host=int(len(path.stages) > 1),
        grouped=int(inputs.runtime.overlap != "per_expert"),
        shared_waits=int(inputs.runtime.overlap == "none"),
        cancels=int(config.prefetch.cancel_stale),
        extra=config.prefetch.extra,
        policy=code,
        timed=policies.TIMED[code],
        expert_launch_ns=cost.expert_launch_ns,
        keeps=int(keep),
        slows=int(cost.beside_loads is not None),
        known=int(missed is not None),
        threshold=np.float64(config.prefetch.threshold),  # a float would be rounded to scores' 32
        wire=path.last.bytes_per_ns,
        steps=_steps(steps),
        rows=steps.rows,
        routed=steps.routed,
        tokens=steps.tokens,
        first_routed=steps.first_routed,
        alone=_costs(cost, workload.layers, steps),
        beside=None if plain else _costs(slower, workload.layers, steps),
        predictors=table(
            Predictor,
            len(predictors),
            trigger=[TRIGGERS.index(predictor.trigger) for predictor in predictors],
            distance=[predictor.distance for predictor in predictors],
            inline=[predictor.inline for predictor in predictors],
            table=where[:-1],
            width=[one.ids.shape[2] for one in said],
        ),
        delay=_delays(predictors, np.diff(steps.first_row)),
        ids=_joined([one.ids for one in said], np.int32),
        scores=_joined([one.scores for one in said], np.float32),
        miss_ns=integers(cost.runtime.miss_ns),
        rates=_rates(path),
        load_ns=integers(path.load_ns if policies.TIMED[code] else [0] * workload.layers),
        missed=np.zeros(0, dtype=np.int8) if missed is None else missed,
    )


def _costs(cost: CostModel, layers: int, steps: StepTable) -> Costs:
    costs = cost_table(cost, steps.kinds)
    prologue, attention = np.moveaxis(costs.per_layer, 2, 0)
    norm, gate, moe_fixed, shared, epilogue = costs.per_step.T
    return Costs(
        layers=table(LayerCost, prologue.shape, prologue_ns=prologue, attention_ns=attention),
        steps=table(
            StepCost,
            len(norm),
            norm_ns=norm,
            gate_ns=gate,
            moe_fixed_ns=moe_fixed,
            shared_ns=shared,
            epilogue_ns=epilogue,
        ),
        expert_ns=expert_table(cost, layers, steps.served),
    )


def make_cpu(inputs: Inputs, cost: CostModel, path: transfers.LoadPath) -> Cpu | None:
    """None where every missing expert is loaded."""
    if not inputs.cpu_computes:
        return None
    assert cost.cpu is not None
    steps, misses = inputs.workload.table, inputs.config.misses
    layers, experts = inputs.workload.layers, inputs.workload.experts
    alone, contended = cpu_table(cost.cpu, layers, steps.served)
    tokens, which = np.unique(np.diff(steps.first_row), return_inverse=True)
    return Cpu(
        policy=policies.MISSES.index(inputs.misses),
        behind=int(misses.then == "load"),
        up_to=misses.up_to,
        at=table(CpuMoment, until=-1),
        expert_ns=alone,
        contended_ns=contended,
        fixed_ns=integers([cost.cpu.fixed_ns(n) for n in tokens.tolist()])[which],
        load_ns=integers(path.load_ns),
        routed=np.zeros(experts, dtype=np.int32),
        tokens=np.zeros(experts, dtype=np.int32),
        experts=np.zeros(experts, dtype=np.int64),
        ns=np.zeros(experts, dtype=np.int64),
        state=np.zeros(experts, dtype=np.int64),
        chosen=np.zeros(experts, dtype=np.int64),
    )


def _delays(predictors: Sequence[ActivePredictor], lengths: Any) -> Any:
    """``Setup.delay``."""
    different, which = np.unique(lengths, return_inverse=True)
    delays = [[predictor.delay_of(n) for n in different.tolist()] for predictor in predictors]
    return integers(delays).reshape(len(predictors), len(different)).take(which, axis=1)


def _joined(parts: list[Any], dtype: Any) -> Any:
    if len(parts) == 1:
        return np.ascontiguousarray(parts[0], dtype=dtype).ravel()
    return np.concatenate([np.empty(0, dtype), *(part.ravel() for part in parts)]).astype(dtype)


def _steps(steps: StepTable) -> Any:
    """``Setup.steps``."""
    count = len(steps.kind)
    rows = table(Step, count + 1, first_row=steps.first_row)
    rows.kind[:count], rows.prefill[:count] = steps.kind, steps.prefill
    rows.requests[:count] = steps.requests
    return rows


def _rates(path: transfers.LoadPath) -> Any:
    """``Setup.rates``."""
    rates = table(Rate, len(path.stages))
    for rate, stage in zip(rates, path.stages):
        rate.bytes_per_ns = stage.bytes_per_ns
        if isinstance(stage, transfers.Storage):
            rate.stream_bytes_per_ns = stage.stream_bytes_per_ns
        else:
            rate.isolated_ns, rate.queued_ns = stage.isolated_ns, stage.queued_ns
            rate.copies, rate.more_ns = stage.copies, (stage.copies - 1) * stage.queued_ns
            rate.contended_bytes_per_ns = stage.contended_bytes_per_ns
    return rates


def timeless(
    predictors: Sequence[ActivePredictor], cache: PlainTier, path: LoadPath | None, steps: StepTable
) -> bool:
    """Whether time has no part in what hits: loads on demand alone, of sets that always fit."""
    if predictors or path is not None:
        return False
    largest = np.diff(steps.first_routed).max(initial=0) * max(cache.sizes)
    rooms = cache.room
    if cache.static:  # a layer of nothing else needs no room
        others = {p for x, p in enumerate(cache.partition_of) if x not in cache.static}
        rooms = [cache.room[p] for p in others]
    return bool(largest <= min(rooms, default=largest))


def make_run(s: Setup, steps: int) -> Run:
    """``steps``: how many the records have room for between two times they are taken away."""
    layers, experts, predictors = s.layers, s.experts, s.predictor_count
    n = layers * experts
    tokens = np.diff(column(s.steps, "first_row")).max()
    several = int(tokens * column(s.predictors, "width").max(initial=1))
    loads = (2 * n + (steps + 1) * n * (predictors + 1)) * s.keeps
    room = 1024
    return Run(
        room=room,
        load_room=loads,
        at=table(Progress, wake=-1, unpin_at=-1, routed_until=-1),
        stalls=table(Stalls),
        stalls_before=table(Stalls),
        counts=np.zeros((2, len(DISPOSITIONS)), dtype=np.int64),
        moved_bytes=np.zeros((STAGES, len(ORIGINS)), dtype=np.int64),
        totals=table(Total, (2, layers)),
        seen=np.zeros(n, dtype=np.int64),
        computed=table(Computed, experts),
        out=np.zeros(experts, dtype=np.int64),
        priority=np.zeros(experts, dtype=np.int64),
        ids=np.zeros(several, dtype=np.int32),
        scores=np.zeros(several, dtype=np.float32),
        pending=table(Prediction, room + predictors),
        layers=table(LayerRow, steps * layers * s.keeps),
        steps=table(StepRow, steps),
        loads=table(LoadRow, loads),
    )
