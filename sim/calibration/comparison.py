"""Measured operators beside what the cost model says of them, over the figures of a profile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from prefetch_sim.hardware_profiles import HardwareProfile, RuntimeProfile
from prefetch_sim.sim.calibration.operators import Operator
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.traces.models.spec import ModelSpec


class Compared(NamedTuple):
    """A row of the table: µs, and how far the prediction is off."""

    model: str
    operator: str
    size: int
    measured_us: float
    p10_us: float
    p90_us: float
    predicted_us: float
    off_pct: float


def compare(
    model: ModelSpec,
    found: Iterable[Operator],
    profile: HardwareProfile,
    runtime: RuntimeProfile,
    precision: str,
) -> list[Compared]:
    """Each operator of ``model`` that was measured beside what the cost model says of it."""
    cost = CostModel(model, profile, runtime, precision=precision)
    rows = []
    for op in found:
        if op.model != model.name:
            continue
        predicted = _predicted(cost, op) / 1e3
        low, middle, high = op.us.quantiles
        off = 100 * (predicted / middle - 1)
        rows.append(
            Compared(
                op.model,
                op.name,
                op.size,
                *(round(us, 1) for us in (middle, low, high, predicted)),
                round(off, 1),
            )
        )
    return rows


def _predicted(cost: CostModel, op: Operator) -> float:
    """ns."""
    context = op.size if op.name == "attention" else 0
    by_name = cost.operators("decode", context)
    step = cost.step("decode", [1], [context])
    match op.name:
        case "norm":
            return by_name["input_norm"]
        case "attention":  # and the norm after it
            return by_name["self_attention"] + by_name["post_norm"]
        case "gate":
            return by_name["expert_selection"]
        case "shared":
            return step.shared_ns
        case "combine":
            return step.moe_fixed_ns
        case "expert":
            return cost.expert_launch_ns + cost.expert_ns(0, op.size)
        case _:
            return step.epilogue_ns - cost.runtime.step_ns
