"""Tiny randomly initialised checkpoints of the families that capture is tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCAB = 64
_BASE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.5,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LATENT = {
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "n_group": 4,
    "topk_group": 2,
}
_QWEN = {"num_experts": 8, "moe_intermediate_size": 16, "head_dim": 8, "norm_topk_prob": True}
# Dense first layers, shared experts, group-limited gates, a bias that selects but does not weigh.
FAMILIES: dict[str, dict[str, Any]] = {
    "DeepseekV2": {
        **_LATENT,
        "n_shared_experts": 2,
        "q_lora_rank": None,
        "topk_method": "group_limited_greedy",
    },
    "DeepseekV3": {**_LATENT, "n_shared_experts": 1, "q_lora_rank": 8},
    "Qwen2Moe": {**_QWEN, "shared_expert_intermediate_size": 16, "mlp_only_layers": [1]},
    "Qwen3Moe": _QWEN,
    "Phimoe": {"num_local_experts": 8},
    "Olmoe": {"num_experts": 8},
    "Mixtral": {"num_local_experts": 8},
    "GptOss": {
        "num_local_experts": 8,
        "head_dim": 8,
        "sliding_window": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "GraniteMoe": {"num_local_experts": 8},
    "Glm4Moe": {
        "n_routed_experts": 8,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "head_dim": 8,
    },
}

# Each is odd in one way: its router takes batches, chooses by token id, gives out probabilities;
# padding enters its state.
ODD: dict[str, dict[str, Any]] = {
    "Afmoe": {
        "num_experts": 8,
        "moe_intermediate_size": 16,
        "num_shared_experts": 1,
        "num_dense_layers": 1,
        "head_dim": 8,
    },
    "DeepseekV4": {
        "num_local_experts": 8,
        "head_dim": 16,
        "qk_rope_head_dim": 8,
        "mlp_layer_types": ["hash_moe", "moe", "moe"],
    },
    "Gemma4Text": {
        "num_experts": 8,
        "top_k_experts": 2,
        "moe_intermediate_size": 16,
        "enable_moe_block": True,
        "head_dim": 8,
        "global_head_dim": 8,
        "hidden_size_per_layer_input": 0,
        "num_kv_shared_layers": 0,
    },
    "MiniMax": {
        "num_local_experts": 8,
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    },
}

# Of no config that is known: the shape is taken from the modules.
UNKNOWN: dict[str, dict[str, Any]] = {
    "Flint": {
        "num_experts": 8,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 24,
        "head_dim": 8,
        "mlp_only_layers": [],
        "layer_types": ["full_attention"] * 3,
    },
    "NemotronH": {
        "n_routed_experts": 8,
        "moe_intermediate_size": 16,
        "moe_shared_expert_intermediate_size": 16,
        "layers_block_type": ["attention", "moe", "attention"],
        "head_dim": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "n_groups": 1,
        "n_group": 1,
        "topk_group": 1,
    },
    "Zaya": {
        "num_experts": 8,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "head_dim": 8,
    },
}


def build(family: str, seed: int = 0, **shape: Any) -> Any:
    """A model in float32 whose routers are no longer alike: biases that select are random too."""
    import torch
    import transformers

    torch.manual_seed(seed)
    shape = {**_BASE, **(FAMILIES | ODD | UNKNOWN)[family], **shape}
    config = getattr(transformers, f"{family}Config")(**shape)
    model = getattr(transformers, f"{family.removesuffix('Text')}ForCausalLM")(config).eval()
    for name, values in model.state_dict().items():
        if name.endswith("tid2eid"):
            values.copy_(torch.rand(VOCAB, 8).argsort(dim=1)[:, : values.shape[1]])
        if "bias" in name and ("gate" in name or "router" in name or "mlp" in name):
            values.normal_(0, 0.3)
        elif name.endswith(("gate.weight", "router.weight")) and not values.abs().sum():
            values.normal_(0, 0.5)
    return model


def save(family: str, folder: Path, seed: int = 0) -> Path:
    build(family, seed).save_pretrained(folder)
    return folder


def mxfp4(folder: Path) -> Path:
    """A GPT-OSS as it is published: experts in blocks of 32 numbers of 4 bits and a scale."""
    import json

    import torch
    from safetensors.torch import load_file, save_file

    model = build("GptOss", hidden_size=64, intermediate_size=64)
    model.bfloat16().save_pretrained(folder)
    (file,) = folder.glob("*.safetensors")
    stored = {}
    for name, values in load_file(file).items():
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, rows, columns = values.shape
            shape = (experts, columns, rows // 32)
            stored[f"{name}_blocks"] = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8)
            stored[f"{name}_scales"] = torch.full(shape, 125, dtype=torch.uint8)
        else:
            stored[name] = values
    save_file(stored, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "embed_tokens", "lm_head"]
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": kept}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def dense(folder: Path) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**_BASE)).save_pretrained(folder)
    return folder
