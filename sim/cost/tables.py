"""Durations of a workload's steps and experts as arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from prefetch_sim.sim.workload.step_table import Integers, integers

if TYPE_CHECKING:
    from prefetch_sim.sim.cost.cpu import CpuCost
    from prefetch_sim.sim.cost.model import CostModel
    from prefetch_sim.sim.workload.step import Step


COSTS_KEPT = 4  # hardware profiles whose costs are kept for the next run
NORM, GATE, FIXED, SHARED, EPILOGUE = range(5)  # columns of CostTable.per_step


class CostTable(NamedTuple):
    """ns by kind of step: see ``sim.cost.model.StepCost``."""

    per_layer: Integers  # [kinds, L, 2]: prologue, attention
    per_step: Integers  # [kinds, 5]


@lru_cache(maxsize=2 * COSTS_KEPT)  # beside loads, too
def cost_table(cost: CostModel, kinds: tuple[Step, ...]) -> CostTable:
    found = [cost.step(step.phase, step.tokens, step.contexts) for step in kinds]
    per_layer = integers([(one.prologue_ns, one.attention_ns) for one in found])
    per_step = [
        (one.norm_ns, one.gate_ns, one.moe_fixed_ns, one.shared_ns, one.epilogue_ns)
        for one in found
    ]
    return CostTable(np.ascontiguousarray(per_layer.transpose(0, 2, 1)), integers(per_step))


@lru_cache(maxsize=2 * COSTS_KEPT)
def expert_table(cost: CostModel, layers: int, served: tuple[int, ...]) -> Integers:
    """[layers, most tokens + 1]: ns of an expert that serves so many; 0 where none does."""
    return _table(cost.expert_ns, layers, served)


@lru_cache(maxsize=COSTS_KEPT)
def cpu_table(cost: CpuCost, layers: int, served: tuple[int, ...]) -> tuple[Integers, Integers]:
    """The same on the CPU: alone, and while the host link moves experts."""
    return (
        _table(partial(cost.expert_ns, contended=False), layers, served),
        _table(partial(cost.expert_ns, contended=True), layers, served),
    )


def _table(ns: Callable[[int, int], int], layers: int, served: tuple[int, ...]) -> Integers:
    expert = np.zeros((layers, max(served) + 1), dtype=np.int64)
    for layer in range(layers):
        for n in served:
            expert[layer, n] = ns(layer, n)
    return expert
