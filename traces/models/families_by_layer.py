"""Families of models whose layers are not alike, read as ``families`` reads the others."""

from __future__ import annotations

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.models.keys import (
    Config,
    ModelConfigError,
    alike,
    count,
    items,
    optional,
)
from prefetch_sim.traces.models.mixers import (
    FULL,
    by_layer,
    delta_attention,
    grouped,
    kinds,
    latent,
    mamba,
    mamba2,
    short_convolution,
    windowed,
)
from prefetch_sim.traces.models.routed import Fields, dense_layers, one_shared, routed
from prefetch_sim.traces.models.spec import Mixer, NoAttention


def delta(config: Config) -> Fields:
    """Kimi Linear, and Ling of the same make: a few layers of latent attention among linear."""
    ling = config.get("model_type") == "bailing_hybrid"
    layers = count(config, "num_hidden_layers")
    own = config.get("linear_attn_config") or {}
    full = own.get("full_attn_layers") if isinstance(own, dict) else None
    every = optional(config, "layer_group_size") or 4
    whole = {*map(str, full if isinstance(full, list) else range(every, layers + 1, every))}
    numbers = range(1, min(layers, 10_000) + 1)
    default = [FULL[0] if str(i) in whole else "linear_attention" for i in numbers]
    found = kinds(config, (*FULL, "linear_attention"), default)
    states = delta_attention(config, low_rank=not ling)
    mixers: list[Mixer] = [latent(config) if kind in FULL else states for kind in found]
    top_k = count(config, "num_experts_per_token", "num_experts_per_tok")
    return routed(config) | by_layer(mixers) | {"top_k": top_k}


def llama4(config: Config) -> Fields:
    layers = min(count(config, "num_hidden_layers"), 10_000)
    every = optional(config, "interleave_moe_layer_step") or 1
    routing = items(config, "moe_layers") or list(range(every - 1, layers, every))
    dense = tuple(i for i in range(layers) if i not in routing)
    rotary = items(config, "no_rope_layers") or [(i + 1) % 4 for i in range(layers)]
    chunked = bool(config.get("attention_chunk_size"))
    default = ["chunked_attention" if r and chunked else FULL[0] for r in rotary]
    width = count(config, "intermediate_size")
    return {
        "dense_layers": dense,
        "dense_hidden": count(config, "intermediate_size_mlp") if dense else 0,
        "experts": count(config, "num_local_experts"),
        "expert_hidden": width,
        **one_shared(width),
        **windowed(config, default),
    }


def gemma4(config: Config) -> Fields:
    """A dense MLP runs beside the experts of each layer; every sixth layer sees it all."""
    if optional(config, "num_kv_shared_layers") or optional(config, "hidden_size_per_layer_input"):
        raise ModelConfigError(
            "config.json: layers that share keys and values, or have embeddings of their own, are "
            "not supported"
        )
    usual: Config = dict(config)
    own = config.get("per_layer_config")  # of transformers 5; in files, the keys below
    own = next(iter(own.values()), None) if isinstance(own, dict) else None
    if isinstance(own, dict):
        usual |= own
    elif config.get("global_head_dim"):
        usual["head_dim"] = config["global_head_dim"]
    alike_kv = bool(config.get("attention_k_eq_v"))
    if alike_kv and config.get("num_global_key_value_heads"):
        usual["num_key_value_heads"] = config["num_global_key_value_heads"]
    layers = range(min(count(config, "num_hidden_layers"), 10_000))
    default = ["sliding_attention" if (i + 1) % 6 else FULL[0] for i in layers]
    return {
        "experts": count(config, "num_experts"),
        "top_k": count(config, "top_k_experts", "num_experts_per_tok"),
        "expert_hidden": count(config, "moe_intermediate_size", "expert_intermediate_size"),
        **one_shared(count(config, "intermediate_size")),
        **windowed(
            config, default, usual=grouped(usual, shared_kv=alike_kv), local=grouped(config)
        ),
    }


_BLOCKS = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp", "linear_attention": "mamba",
           "full_attention": "attention"}  # fmt: skip


def nemotron(config: Config) -> Fields:
    """Each layer is one block: states, attention, experts or an MLP. Squared ReLU has no gate."""
    pattern = config.get("layers_block_type") or config.get("hybrid_override_pattern")
    pattern = pattern or config.get("layer_types")
    if not isinstance(pattern, str | list) or len(pattern) > 10_000:
        raise ModelConfigError("config.json: hybrid_override_pattern is missing")
    blocks = [_BLOCKS.get(str(block), str(block)) for block in pattern]
    strange = sorted({*blocks} - {"mamba", "attention", "moe", "mlp"})
    if strange:
        raise ModelConfigError(f"config.json: hybrid_override_pattern: {shown(strange[0])}")
    state = mamba2(config, "mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size")
    mixing: dict[str, Mixer] = {"mamba": state, "attention": grouped(config)}
    shared = optional(config, "n_shared_experts")
    width = shared and count(config, "moe_shared_expert_intermediate_size", "moe_intermediate_size")
    return {
        "layers": len(blocks),
        "dense_layers": tuple(i for i, block in enumerate(blocks) if block != "moe"),
        "bare_layers": tuple(i for i, block in enumerate(blocks) if block in mixing),
        "dense_hidden": count(config, "intermediate_size") if "mlp" in blocks else 0,
        "experts": count(config, "n_routed_experts"),
        "expert_hidden": count(config, "moe_intermediate_size"),
        "expert_input": optional(config, "moe_latent_size") or None,
        "mlp_matrices": 2,
        "shared_experts": shared,
        "shared_hidden": width,
        **by_layer([mixing.get(block, NoAttention()) for block in blocks]),
    }


def jamba(config: Config) -> Fields:
    def at(what: str) -> set[int]:
        every, first = count(config, f"{what}_period"), optional(config, f"{what}_offset")
        return {i for i in layers if i % every == first}

    layers = range(min(count(config, "num_hidden_layers"), 10_000))
    attending, routing = at("attn_layer"), at("expert_layer")
    usual, state = grouped(config), mamba(config)
    return {
        "dense_layers": tuple(i for i in layers if i not in routing),
        "dense_hidden": count(config, "intermediate_size"),
        "experts": count(config, "num_experts"),
        "expert_hidden": count(config, "intermediate_size"),
        **by_layer([usual if i in attending else state for i in layers]),
    }


def lfm2(config: Config) -> Fields:
    convolution = short_convolution(config)
    more: dict[str, Mixer] = dict.fromkeys(("conv", "short_conv"), convolution)
    return routed(config) | windowed(config, more=more)


def hunyuan(config: Config) -> Fields:
    """Its lists by layer are all alike."""
    shared = config.get("num_shared_expert", int(bool(config.get("use_mixed_mlp_moe", True))))
    width = alike(config, "moe_intermediate_size", "intermediate_size")
    own = alike({"num_shared_expert": shared}, "num_shared_expert") if shared else 0
    return {
        "experts": alike(config, "num_experts"),
        "top_k": alike(config, "moe_topk", "num_experts_per_tok"),
        "expert_hidden": width,
        **one_shared(own * count(config, "intermediate_size")),
        "attention": grouped(config, **_attention_dim(config)),
    }


def _attention_dim(config: Config) -> dict[str, int]:
    dim = optional(config, "attention_head_dim")
    return {"head_dim": dim} if dim and not config.get("head_dim") else {}


def mimo(config: Config) -> Fields:
    """Local layers have key/value heads of their own."""
    pattern = items(config, "hybrid_layer_pattern") or []
    default = ["sliding_attention" if kind else FULL[0] for kind in pattern]
    value = optional(config, "v_head_dim") or None
    usual = grouped(config, value_dim=value)
    local = grouped(
        {
            **config,
            "num_key_value_heads": config.get("swa_num_key_value_heads", 2 * usual.kv_heads),
            "num_attention_heads": config.get("swa_num_attention_heads", usual.heads),
            "head_dim": config.get("swa_head_dim", usual.head_dim),
        },
        value_dim=optional(config, "swa_v_head_dim") or value,
    )
    experts = routed({**config, "n_shared_experts": None})
    return experts | windowed(config, default, usual=usual, local=local)


def step(config: Config) -> Fields:
    """Step-3.5: local layers have more heads; which layers route may be a text of numbers."""
    layers = count(config, "num_hidden_layers")
    routing = config.get("moe_layers_enum")
    if config.get("mlp_layer_types") is None and isinstance(routing, str | list):
        parts = routing.split(",") if isinstance(routing, str) else routing
        inside = {str(part).strip() for part in parts}
        types = ["sparse" if str(i) in inside else "dense" for i in range(min(layers, 10_000))]
        config = {**config, "mlp_layer_types": types}
    usual_config = {
        **config,
        "num_key_value_heads": config.get("num_key_value_heads")
        or config.get("num_attention_groups"),
    }
    other = config.get("attention_other_setting")
    other = other if isinstance(other, dict) else {}
    heads = config.get("num_sliding_attention_heads") or other.get("num_attention_heads")
    groups = other.get("num_attention_groups")
    local = {
        **usual_config,
        **({"num_attention_heads": heads} if heads else {}),
        **({"num_key_value_heads": groups} if groups else {}),
    }
    dense = dense_layers(config)
    return {
        "dense_layers": dense,
        "dense_hidden": count(config, "intermediate_size") if dense else 0,
        "experts": count(config, "n_routed_experts", "moe_num_experts", "num_experts"),
        "top_k": count(config, "num_experts_per_tok", "moe_top_k"),
        "expert_hidden": count(config, "moe_intermediate_size"),
        **one_shared(optional(config, "share_expert_dim", "share_expert_dims")),
        **windowed(config, usual=grouped(usual_config), local=grouped(local)),
    }
