"""The small model: gpt-oss-20b's topology and class, narrow widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    GptOssConfig,
    GptOssForCausalLM,
)
from transformers.masking_utils import eager_mask

from traces.model import GroupedQueryAttention, ModelSpec


@dataclass(frozen=True)
class Shape:
    """Widths of the model; the defaults are the committed sample's."""

    layers: int = 24
    experts: int = 32
    top_k: int = 4
    hidden: int = 128
    expert_hidden: int = 64
    heads: int = 4
    kv_heads: int = 1
    head_dim: int = 32
    window: int = 128
    vocab: int = 4096


def sink_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """GPT-OSS attention, sinks included, through the fused kernel (3× faster on a CPU).

    The sink is one more key whose score is the head's sink and whose value is zero: a further
    query element of 1 meets ``sink / scaling`` in that key and 0 in every other.
    """
    batch, heads, _q, dim = query.shape
    groups = module.num_key_value_groups
    sink = functional.pad((module.sinks / scaling).view(1, heads, 1, 1), (dim, 0))
    query = functional.pad(query, (0, 1), value=1.0)
    key = functional.pad(key.repeat_interleave(groups, 1), (0, 1))
    key = torch.cat([key, sink.expand(batch, -1, -1, -1)], dim=2)
    value = functional.pad(value.repeat_interleave(groups, 1), (0, 1, 0, 1))
    mask = None if attention_mask is None else functional.pad(attention_mask, (0, 1))
    out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return out[..., :dim].transpose(1, 2).contiguous(), None


AttentionInterface.register("with_sink", sink_attention)
AttentionMaskInterface.register("with_sink", eager_mask)


def build_model(shape: Shape, seed: int) -> Any:
    """A freshly initialised GptOssForCausalLM in float32, embeddings tied."""
    torch.manual_seed(seed)
    config = GptOssConfig(
        num_hidden_layers=shape.layers,
        num_local_experts=shape.experts,
        num_experts_per_tok=shape.top_k,
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.expert_hidden,
        head_dim=shape.head_dim,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        sliding_window=shape.window,
        max_position_embeddings=1024,
        # No long context here, so no stretched rotary embedding.
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        # The published 0.02 fits a hidden size of 2880.
        initializer_range=0.04,
    )
    model = GptOssForCausalLM(config)
    model.set_attn_implementation("with_sink")
    model.set_experts_implementation("grouped_mm")
    return model


def model_spec(shape: Shape, name: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        layers=shape.layers,
        hidden=shape.hidden,
        experts=shape.experts,
        top_k=shape.top_k,
        expert_hidden=shape.expert_hidden,
        attention=GroupedQueryAttention(
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            sliding_window=shape.window,
        ),
        vocab=shape.vocab,
        precision="bf16",
    )
