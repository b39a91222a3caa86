"""The small models: published classes and topologies, narrow widths."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from prefetch_sim.traces.twins.recipe import Recipe


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


def build_model(recipe: Recipe, seed: int) -> Any:
    """A freshly initialised model in float32, embeddings tied."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{recipe.family}Config")(
        **recipe.config,
        vocab_size=recipe.vocab,
        max_position_embeddings=1024,
        # No long context here, so no stretched rotary embedding.
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        # The published 0.02 fits hidden sizes of thousands.
        initializer_range=0.04,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    model = getattr(transformers, f"{recipe.family}ForCausalLM")(config)
    if recipe.family == "GptOss":
        model.set_attn_implementation("with_sink")
    model.set_experts_implementation("grouped_mm")
    return model
