"""Shapes of the models that the imported recordings were made with.

A recording gives layers, experts and top-k; the widths that the cost model
needs are those of the catalogue.
"""

from __future__ import annotations

from prefetch_sim.traces.models.catalogue import shape
from prefetch_sim.traces.models.spec import ModelSpec

GPT_OSS_20B = shape("gpt-oss-20b")
GPT_OSS_120B = shape("gpt-oss-120b")
QWEN3_30B_A3B = shape("qwen3-30b-a3b")

# By llama.cpp's name of the architecture, which route traces carry.
BY_ARCHITECTURE: dict[str, tuple[ModelSpec, ...]] = {
    "gpt-oss": (GPT_OSS_20B, GPT_OSS_120B),
    "qwen3moe": (QWEN3_30B_A3B,),
}
