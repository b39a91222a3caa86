"""How much of everything is measured: in seconds, or in up to two minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prefetch_sim.sim.calibration.machine import GIB
from prefetch_sim.sim.calibration.measuring.operators import Sizes
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec

KIB, MIB = 2**10, 2**20
PAPER = ("deepseek-v2-lite", "qwen3-30b-a3b", "phi-mini-moe")
_SMALL = ModelSpec(
    name="a small shape", layers=1, hidden=1024, experts=32, top_k=4, expert_hidden=704, vocab=8192,
    attention=GroupedQueryAttention(heads=16, kv_heads=4, head_dim=64),
)  # fmt: skip


class Plan(NamedTuple):
    """How much of everything. Sizes are bytes; ``seconds``: after which no model is begun."""

    copies: Sequence[int]
    pool: int
    repeats: int
    file: int
    blocks: Sequence[int]
    depths: Sequence[int]
    window: float
    sizes: Sizes
    seconds: float
    decode: int  # tokens of each run of the replay
    runs: int  # of each kind


QUICK = Plan(
    copies=(256 * KIB, MIB, 4 * MIB),
    pool=32 * MIB,
    repeats=5,
    file=64 * MIB,
    blocks=(4 * KIB, 256 * KIB, MIB),
    depths=(1, 4),
    window=0.1,
    sizes=Sizes((16, 256), (16,), 5, 32 * MIB, 2, head=False),
    seconds=30,
    decode=16,
    runs=3,
)
FULL = Plan(
    copies=(256 * KIB, MIB, 4 * MIB, 16 * MIB, 32 * MIB),
    pool=512 * MIB,
    repeats=20,
    file=2 * GIB,
    blocks=(4 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB),
    depths=(1, 2, 4, 8, 16),
    window=0.4,
    sizes=Sizes((16, 1024, 4096), (4, 64), 15, 512 * MIB, 4, head=True),
    seconds=75,
    decode=32,
    runs=5,
)


def shapes(plan: Plan) -> list[ModelSpec]:
    """Whose operators are measured where nobody says: the paper's, or a small one."""
    return [_SMALL] if not plan.sizes.head else [load_model(name) for name in PAPER]
