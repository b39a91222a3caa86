"""Measured operators beside what the cost model says of them, over the figures of a profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from prefetch_sim.hardware_profiles import HardwareProfile, RuntimeProfile
from prefetch_sim.sim.calibration.operators import Operator
from prefetch_sim.sim.calibration.samples import Samples
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.traces.models.spec import ModelSpec

LAYER = "layer"  # all that one token needs of a MoE layer


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
    own = [op for op in found if op.model == model.name]
    rows = [_row(op, _predicted(cost, op) / 1e3) for op in own]
    for context in sorted(op.size for op in own if op.name == "attention"):
        parts = _layer(model, own, context)
        if parts is not None:
            whole = [
                sum(n * us for n, us in zip(parts.values(), each)) for each in _quantiles(parts)
            ]
            predicted = sum(n * _predicted(cost, op) for op, n in parts.items()) / 1e3
            us = Samples(min(op.us.n for op in parts), *whole)
            rows.append(_row(Operator(model.name, LAYER, context, 0, 0, us), predicted))
    return rows


def _row(op: Operator, predicted_us: float) -> Compared:
    low, middle, high = (round(us, 1) for us in op.us.quantiles)
    off = round(100 * (predicted_us / op.us.median - 1), 1)
    return Compared(op.model, op.name, op.size, middle, low, high, round(predicted_us, 1), off)


def _layer(model: ModelSpec, own: Sequence[Operator], context: int) -> dict[Operator, int] | None:
    """What a MoE layer of one token consists of, and how many of each; None: not all is there."""
    wanted = {"norm": 1, "attention": 1, "gate": 1, "combine": 1, "expert": model.top_k}
    if model.shared_experts:
        wanted["shared"] = 1
    size = {"attention": context}
    parts = {
        op: wanted[op.name] for op in own if op.name in wanted and op.size == size.get(op.name, 1)
    }
    return parts if len(parts) == len(wanted) else None


def _quantiles(parts: Mapping[Operator, int]) -> list[tuple[float, ...]]:
    return list(zip(*(op.us.quantiles for op in parts)))


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
