"""Operators of a layer, one by one, in the shapes of real models, and what follows from them:

what the device's memory gives large products and experts, what a launch costs, and what many
tokens reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prefetch_sim.sim.calibration.samples import Findings, Note, Samples, Stamp
from prefetch_sim.sim.cost.model import FUSED
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec

_MANY = 16  # tokens from which on an expert's products are bound by arithmetic
_ROUTED = 8  # experts a layer of the tiny model, whose launches are counted
TINY = ModelSpec(
    name="tiny", layers=1, hidden=64, experts=16, top_k=_ROUTED, expert_hidden=64, vocab=64,
    attention=GroupedQueryAttention(heads=4, kv_heads=2, head_dim=16),
)  # fmt: skip
_KERNELS = {
    "attention": FUSED.grouped_attention + FUSED.norm,
    "shared": FUSED.mlp,
    "head": FUSED.head,
}


class Operator(NamedTuple):
    """One operator of ``model``. ``size``: cached tokens of attention, tokens of an expert."""

    model: str
    name: str
    size: int
    nbytes: float  # of weights
    flops: float
    us: Samples


class Launches(NamedTuple):
    """µs of one launch, by what works: one right behind another, and in a graph of many."""

    eager: Samples
    captured: Samples | None


def layer_launch(found: Iterable[Operator]) -> Samples:
    """µs of one launch, from all the operators of a layer of `TINY`, too small to count."""
    own = {
        "norm": (2, FUSED.norm),
        "attention": (1, FUSED.grouped_attention),
        "gate": (1, FUSED.gate),
        "combine": (1, FUSED.dispatch),
        "expert": (_ROUTED, FUSED.expert),
    }
    kernels = sum(times * each for times, each in own.values())
    by_name = {op.name: op.us for op in found if op.size <= 1}
    at = zip(*(by_name[name].quantiles for name in own))
    sums = [sum(times * us for (times, _), us in zip(own.values(), each)) / kernels for each in at]
    return Samples(min(us.n for us in by_name.values()), *sums)


def findings(found: Sequence[Operator], launch_us: float, stamp: Stamp) -> Findings:
    """Figures of ``compute``: memory by large products, experts by what they reach of it.

    Launches, of ``launch_us`` each, are taken off.
    """

    def rate(op: Operator, kernels: int) -> Samples:
        own = kernels * launch_us
        return op.us.through(lambda us: op.nbytes / max(us - own, us / 10) / 1e3)

    shortest = min(op.size for op in found if op.name == "attention")
    large = [
        rate(op, _KERNELS[op.name])
        for op in found
        if op.name in ("head", "shared") or (op.name == "attention" and op.size == shortest)
    ]
    one = [rate(op, FUSED.expert) for op in found if op.name == "expert" and op.size == 1]
    memory, experts = Samples.pooled(large), Samples.pooled(one)
    note = "attention's projections, shared experts and lm_head"
    if experts.median > memory.median:  # a share is at most 1
        memory, note = experts, "single experts, the fastest products"
    most = max(op.size for op in found if op.name == "expert")
    models = ", ".join(dict.fromkeys(op.model for op in found))
    share = experts.through(lambda gb_s: min(1.0, gb_s / memory.median))
    figures = {
        "compute.memory_gb_s": stamp.figure(memory, f"{note}, launches apart; {models}"),
        "compute.expert_efficiency": stamp.figure(
            share, f"an expert on one token, launches apart, of memory_gb_s; {models}"
        ),
    }
    if most >= _MANY:
        rates = [_tflops(op) for op in found if op.name == "expert" and op.size == most]
        figures["compute.tflops.bf16"] = stamp.figure(
            Samples.pooled(rates), f"an expert on {most} tokens; {models}"
        )
    return Findings(
        hardware=figures,
        notes=[Note(f"{op.model}, {op.name}{_size(op)}", op.us, "µs") for op in found],
    )


def _tflops(op: Operator) -> Samples:
    return op.us.through(lambda us: op.flops / us / 1e6)


def _size(op: Operator) -> str:
    if op.name == "attention":
        return f" after {op.size:,} tokens"
    return f" on {op.size} tokens" if op.name == "expert" and op.size > 1 else ""
