"""Families of models: how each names in config.json what a shape needs. One function each.

What no function says is read by ``hf_config`` under its usual key. Norms, biases of attention,
multi-token prediction layers, encoders of images and indexers of sparse attention are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    delta_net,
    grouped,
    kinds,
    latent,
    lightning,
    mamba,
    mamba2,
    short_convolution,
    windowed,
)
from prefetch_sim.traces.models.spec import Mixer, NoAttention

Fields = dict[str, Any]


def dense_layers(config: Config) -> tuple[int, ...]:
    """The layers that do not route, however a config says so."""
    layers = min(count(config, "num_hidden_layers"), 10_000)
    named = items(config, "mlp_layer_types")
    if named is not None:
        return tuple(i for i, kind in enumerate(named[:layers]) if kind == "dense")
    freq = config.get("moe_layer_freq")
    if isinstance(freq, list):
        return tuple(i for i in range(layers) if i >= len(freq) or not freq[i])
    first = optional(config, "first_k_dense_replace", "num_dense_layers")
    every = optional(config, "moe_layer_freq") or 1
    step = optional(config, "decoder_sparse_step") or 1
    only_mlp = set(map(str, items(config, "mlp_only_layers") or ()))
    return tuple(
        i for i in range(layers)
        if i < first or i % every or (i + 1) % step or str(i) in only_mlp
    )  # fmt: skip


def _experts(config: Config, width: str = "moe_intermediate_size") -> Fields:
    """Dense layers, then many experts and some shared ones of the same width beside them."""
    dense = dense_layers(config)
    shared = optional(config, "n_shared_experts", "num_shared_experts")
    return {
        "dense_layers": dense,
        "dense_hidden": count(config, "intermediate_size") if dense else 0,
        "experts": count(config, "n_routed_experts", "num_local_experts", "num_experts"),
        "expert_hidden": count(config, width),
        "shared_experts": shared,
        "shared_hidden": count(config, width) if shared else 0,
    }


def _one_shared(width: int) -> Fields:
    return {"shared_experts": int(width > 0), "shared_hidden": width}


def _deepseek(config: Config) -> Fields:
    return _experts(config) | {"attention": latent(config)}


def _glm(config: Config) -> Fields:
    return _experts(config) | windowed(config)


def _qwen(config: Config) -> Fields:
    shared = _one_shared(optional(config, "shared_expert_intermediate_size"))  # Qwen3 has none
    return _experts({**config, "n_shared_experts": None}) | shared | windowed(config)


def _qwen_next(config: Config) -> Fields:
    every = optional(config, "full_attention_interval") or 4
    layers = range(min(count(config, "num_hidden_layers"), 10_000))
    default = [FULL[0] if (i + 1) % every == 0 else "linear_attention" for i in layers]
    mixers = windowed(
        config,
        default,
        usual=grouped(config, gated=True),
        more={"linear_attention": delta_net(config)},
    )
    return _qwen({**config, "layer_types": None}) | {"other_attention": ()} | mixers


def _laguna(config: Config) -> Fields:
    layers = count(config, "num_hidden_layers")
    heads = items(config, "num_attention_heads_per_layer") or []
    found = kinds(config, (*FULL, "sliding_attention"))
    mixers: list[Mixer] = []
    for i, kind in zip(range(layers), found):
        own = {**config, "num_attention_heads": heads[i] if i < len(heads) else None}
        shape = grouped(own if own["num_attention_heads"] else config)
        window = count(config, "sliding_window") if kind not in FULL else None
        mixers.append(shape.model_copy(update={"sliding_window": window}))
    return _qwen({**config, "layer_types": None}) | by_layer(mixers)


def _uniform(config: Config) -> Fields:
    """Every layer routes and ``intermediate_size`` is an expert's width."""
    return _experts({**config, "moe_layer_freq": None}, "intermediate_size") | windowed(config)


def _mixtral(config: Config) -> Fields:
    # Families of old publish a window only as long as their context, or leave it unused.
    return _uniform({**config, "layer_types": None})


def _gpt_oss(config: Config) -> Fields:
    turns = ["sliding_attention", "full_attention"]
    layers = min(count(config, "num_hidden_layers"), 10_000)
    default = [turns[i % 2] for i in range(layers)] if config.get("sliding_window") else ()
    return _uniform(config) | windowed(config, default) | {"expert_biases": True}


def _granite(config: Config) -> Fields:
    more: dict[str, Mixer] = {}
    if config.get("mamba_n_heads"):
        state = mamba2(config, "mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state")
        more = dict.fromkeys(("mamba", "linear_attention"), state)
    shared = _one_shared(optional(config, "shared_intermediate_size"))
    return _uniform({**config, "layer_types": None}) | shared | windowed(config, more=more)


def _minimax(config: Config) -> Fields:
    types = items(config, "attn_type_list")  # 0 is linear, of MiniMax-Text-01 and M1
    default = [FULL[0] if kind else "linear_attention" for kind in types or ()]
    fields = _uniform({**config, "layer_types": None})
    return fields | windowed(config, default, more={"linear_attention": lightning(config)})


def _minimax_m3(config: Config) -> Fields:
    dense = dense_layers(config)
    return _uniform({**config, "mlp_layer_types": None}) | {
        "dense_layers": dense,
        "dense_hidden": count(config, "dense_intermediate_size") if dense else 0,
        **_one_shared(optional(config, "shared_intermediate_size")),
    }


def _aria(config: Config) -> Fields:
    return _uniform({**config, "num_experts": config.get("moe_num_experts")}) | {
        "top_k": count(config, "moe_topk"),
        **_one_shared(
            optional(config, "moe_num_shared_experts") * count(config, "intermediate_size")
        ),
    }


def _ernie(config: Config) -> Fields:
    layers, width = count(config, "num_hidden_layers"), count(config, "moe_intermediate_size")
    first = optional(config, "moe_layer_start_index")
    last, every = config.get("moe_layer_end_index"), optional(config, "moe_layer_interval") or 1
    last = layers - 1 if last in (None, -1) else count(config, "moe_layer_end_index")
    dense = tuple(
        i for i in range(min(layers, 10_000)) if not first <= i <= last or (i + 1) % every
    )
    return {
        "dense_layers": dense,
        "dense_hidden": count(config, "intermediate_size") if dense else 0,
        "experts": count(config, "moe_num_experts"),
        "expert_hidden": width,
        "top_k": count(config, "moe_k"),
        **_one_shared(optional(config, "moe_num_shared_experts") * width),
        **windowed(config),
    }


def _afmoe(config: Config) -> Fields:
    every = optional(config, "global_attn_every_n_layers") or 4
    layers = range(min(count(config, "num_hidden_layers"), 10_000))
    default = [FULL[0] if (i + 1) % every == 0 else "sliding_attention" for i in layers]
    return _experts(config) | windowed(config, default, usual=grouped(config, gated=True))


def _bailing(config: Config) -> Fields:
    fields = _experts(config) | windowed(config)
    width = optional(config, "moe_shared_expert_intermediate_size")
    return fields | ({"shared_hidden": width} if width and fields["shared_experts"] else {})


def _delta(config: Config) -> Fields:
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
    return _experts(config) | by_layer(mixers) | {"top_k": top_k}


def _dbrx(config: Config) -> Fields:
    attention, experts = config.get("attn_config") or {}, config.get("ffn_config") or {}
    if not isinstance(attention, dict) or not isinstance(experts, dict):
        raise ModelConfigError("config.json: attn_config or ffn_config is not a mapping")
    usual = {
        "num_attention_heads": count(config, "n_heads", "num_attention_heads"),
        "hidden_size": count(config, "d_model", "hidden_size"),
        "num_key_value_heads": optional(attention, "kv_n_heads"),
    }
    return {
        "layers": count(config, "n_layers", "num_hidden_layers"),
        "hidden": usual["hidden_size"],
        "experts": count(experts, "moe_num_experts"),
        "top_k": count(experts, "moe_top_k"),
        "expert_hidden": count(experts, "ffn_hidden_size"),
        "attention": grouped(usual),
    }


def _llama4(config: Config) -> Fields:
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
        **_one_shared(width),
        **windowed(config, default),
    }


def _gemma4(config: Config) -> Fields:
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
        **_one_shared(count(config, "intermediate_size")),
        **windowed(
            config, default, usual=grouped(usual, shared_kv=alike_kv), local=grouped(config)
        ),
    }


_BLOCKS = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp", "linear_attention": "mamba",
           "full_attention": "attention"}  # fmt: skip


def _nemotron(config: Config) -> Fields:
    """Each layer is one block: states, attention, experts or an MLP. Squared ReLU has no gate."""
    pattern = config.get("layers_block_type") or config.get("hybrid_override_pattern")
    pattern = pattern or config.get("layer_types")
    if not isinstance(pattern, str | list) or len(pattern) > 10_000:
        raise ModelConfigError("config.json: hybrid_override_pattern is missing")
    blocks = [_BLOCKS.get(str(block), str(block)) for block in pattern]
    strange = sorted({*blocks} - {"mamba", "attention", "moe", "mlp"})
    if strange:
        raise ModelConfigError(f"config.json: hybrid_override_pattern: {strange[0][:40]!r}")
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


def _jamba(config: Config) -> Fields:
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


def _lfm2(config: Config) -> Fields:
    convolution = short_convolution(config)
    more: dict[str, Mixer] = dict.fromkeys(("conv", "short_conv"), convolution)
    return _experts(config) | windowed(config, more=more)


def _hunyuan(config: Config) -> Fields:
    """Its lists by layer are all alike."""
    shared = config.get("num_shared_expert", int(bool(config.get("use_mixed_mlp_moe", True))))
    width = alike(config, "moe_intermediate_size", "intermediate_size")
    own = alike({"num_shared_expert": shared}, "num_shared_expert") if shared else 0
    return {
        "experts": alike(config, "num_experts"),
        "top_k": alike(config, "moe_topk", "num_experts_per_tok"),
        "expert_hidden": width,
        **_one_shared(own * count(config, "intermediate_size")),
        "attention": grouped(config, **_attention_dim(config)),
    }


def _attention_dim(config: Config) -> dict[str, int]:
    dim = optional(config, "attention_head_dim")
    return {"head_dim": dim} if dim and not config.get("head_dim") else {}


def _mimo(config: Config) -> Fields:
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
    experts = _experts({**config, "n_shared_experts": None})
    return experts | windowed(config, default, usual=usual, local=local)


def _step(config: Config) -> Fields:
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
        **_one_shared(optional(config, "share_expert_dim", "share_expert_dims")),
        **windowed(config, usual=grouped(usual_config), local=grouped(local)),
    }


def _arctic(config: Config) -> Fields:
    """Every layer routes beside an MLP that is always on, unless ``moe_layer_frequency`` skips."""
    every = optional(config, "moe_layer_frequency") or 1
    layers = min(count(config, "num_hidden_layers"), 10_000)
    dense = tuple(i for i in range(layers) if (i + 1) % every)
    hidden = count(config, "hidden_size")
    return _mixtral(config) | {
        "dense_layers": dense,
        "dense_hidden": count(config, "intermediate_size") if dense else 0,
        # The residual MLP is as wide as the model.
        **_one_shared(hidden if config.get("use_residual", True) else 0),
    }


def _cohere(config: Config) -> Fields:
    fields = _experts(config, "intermediate_size") | windowed(config)
    if fields["dense_layers"] and config.get("prefix_dense_intermediate_size"):
        fields["dense_hidden"] = count(config, "prefix_dense_intermediate_size")
    return fields


FAMILIES: dict[str, Callable[[Config], Fields]] = {
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "kimi_k25", "axk1",
         "glm4_moe_lite", "glm_moe_dsa", "mistral4"), _deepseek),
    **dict.fromkeys(
        ("glm4_moe", "glm4v_moe", "dots1", "solar_open", "exaone_moe", "hy_v3"), _glm),
    **dict.fromkeys(
        ("qwen2_moe", "qwen3_moe", "qwen3_vl_moe", "qwen3_omni_moe", "mellum"), _qwen),
    **dict.fromkeys(("qwen3_next", "qwen3_5_moe"), _qwen_next),
    **dict.fromkeys(("mixtral", "olmoe", "phimoe", "flex_olmo", "minimax_m2"), _mixtral),
    **dict.fromkeys(
        ("granitemoe", "granitemoeshared", "granitemoehybrid", "granitemoe_swa"), _granite),
    **dict.fromkeys(("bailing_moe", "bailing_moe_v2"), _bailing),
    **dict.fromkeys(("bailing_hybrid", "kimi_linear"), _delta),
    **dict.fromkeys(("minimax", "minimax_m1", "minimax_text_01"), _minimax),
    **dict.fromkeys(("minimax_m3", "minimax_m3_vl"), _minimax_m3),
    **dict.fromkeys(("mimo_v2", "mimo_v2_flash"), _mimo),
    **dict.fromkeys(("step3p5", "step3p7"), _step),
    "afmoe": _afmoe,
    "arctic": _arctic,
    "aria": _aria,
    "cohere2_moe": _cohere,
    "dbrx": _dbrx,
    "ernie4_5_moe": _ernie,
    "gemma4": _gemma4,
    "gpt_oss": _gpt_oss,
    "hunyuan_v1_moe": _hunyuan,
    "jamba": _jamba,
    "laguna": _laguna,
    "lfm2_moe": _lfm2,
    "llama4": _llama4,
    "nemotron_h": _nemotron,
}  # fmt: skip

# Whose embeddings are one with lm_head where config.json does not say.
TIED = frozenset({"gemma4", "ernie4_5_moe", "lfm2_moe", "cohere2_moe"})

REFUSED = {
    "axk2": "its attention is gated by what is compressed",
    "deepseek_v4": "its attention over compressed entries; `deepseek-v4-flash` is an estimate",
    "doge": "its experts are single rows",
    "ernie4_5_vl_moe": "its experts are of two widths",
    "jetmoe": "its attention has experts too",
    "kimi_k3": "its layers' weights; `kimi-k3` is an estimate",
    "longcat_flash": "some of its experts do nothing",
    "nllb-moe": "it has an encoder",
    "switch_transformers": "it has an encoder",
    "zaya": "its convolutions in attention",
}
