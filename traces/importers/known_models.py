"""Shapes of the models that the imported recordings were made with.

A recording gives layers, experts and top-k; the widths the cost model needs are the published
ones (config.json of openai/gpt-oss-20b, openai/gpt-oss-120b and Qwen/Qwen3-30B-A3B).
"""

from __future__ import annotations

from pathlib import Path

from traces.model import GroupedQueryAttention, ModelSpec
from traces.trace import TraceError

_GPT_OSS = ModelSpec(
    name="gpt-oss-20b",
    layers=24,
    hidden=2880,
    experts=32,
    top_k=4,
    expert_hidden=2880,
    attention=GroupedQueryAttention(heads=64, kv_heads=8, head_dim=64, sliding_window=128),
    vocab=201_088,
    precision="mxfp4",
)
GPT_OSS_20B = _GPT_OSS
GPT_OSS_120B = _GPT_OSS.model_copy(update={"name": "gpt-oss-120b", "layers": 36, "experts": 128})
QWEN3_30B_A3B = ModelSpec(
    name="qwen3-30b-a3b",
    layers=48,
    hidden=2048,
    experts=128,
    top_k=8,
    expert_hidden=768,
    attention=GroupedQueryAttention(heads=32, kv_heads=4, head_dim=128),
    vocab=151_936,
)

# By llama.cpp's name of the architecture, which route traces carry.
BY_ARCHITECTURE: dict[str, tuple[ModelSpec, ...]] = {
    "gpt-oss": (GPT_OSS_20B, GPT_OSS_120B),
    "qwen3moe": (QWEN3_30B_A3B,),
}


def require_model(path: Path, model: ModelSpec | None) -> ModelSpec:
    """For files that do not say which model they are of."""
    if model is None:
        raise TraceError(f"{path}: does not say its model; name it with --model")
    return model
