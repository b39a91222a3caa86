"""Families of models: how each names in config.json what a shape needs. One function each.

What no function says is read by ``hf_config`` under its usual key. Norms, biases of attention,
multi-token prediction layers, encoders of images and indexers of sparse attention are left out.
"""

from __future__ import annotations

from collections.abc import Callable

from prefetch_sim.traces.models import families_by_layer as by_layer
from prefetch_sim.traces.models.keys import Config, ModelConfigError, count, items, optional
from prefetch_sim.traces.models.mixers import (
    FULL,
    delta_net,
    grouped,
    kinds,
    latent,
    lightning,
    mamba2,
    windowed,
)
from prefetch_sim.traces.models.mixers import by_layer as mixers_by_layer
from prefetch_sim.traces.models.routed import Fields, dense_layers, one_shared, routed
from prefetch_sim.traces.models.spec import Mixer


def _deepseek(config: Config) -> Fields:
    return routed(config) | {"attention": latent(config)}


def _glm(config: Config) -> Fields:
    return routed(config) | windowed(config)


def _qwen(config: Config) -> Fields:
    shared = one_shared(optional(config, "shared_expert_intermediate_size"))  # Qwen3 has none
    return routed({**config, "n_shared_experts": None}) | shared | windowed(config)


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
    return _qwen({**config, "layer_types": None}) | mixers_by_layer(mixers)


def _uniform(config: Config) -> Fields:
    """Every layer routes and ``intermediate_size`` is an expert's width."""
    return routed({**config, "moe_layer_freq": None}, "intermediate_size") | windowed(config)


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
    shared = one_shared(optional(config, "shared_intermediate_size"))
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
        **one_shared(optional(config, "shared_intermediate_size")),
    }


def _aria(config: Config) -> Fields:
    return _uniform({**config, "num_experts": config.get("moe_num_experts")}) | {
        "top_k": count(config, "moe_topk"),
        **one_shared(
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
        **one_shared(optional(config, "moe_num_shared_experts") * width),
        **windowed(config),
    }


def _afmoe(config: Config) -> Fields:
    every = optional(config, "global_attn_every_n_layers") or 4
    layers = range(min(count(config, "num_hidden_layers"), 10_000))
    default = [FULL[0] if (i + 1) % every == 0 else "sliding_attention" for i in layers]
    return routed(config) | windowed(config, default, usual=grouped(config, gated=True))


def _bailing(config: Config) -> Fields:
    fields = routed(config) | windowed(config)
    width = optional(config, "moe_shared_expert_intermediate_size")
    return fields | ({"shared_hidden": width} if width and fields["shared_experts"] else {})


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
        **one_shared(hidden if config.get("use_residual", True) else 0),
    }


def _cohere(config: Config) -> Fields:
    fields = routed(config, "intermediate_size") | windowed(config)
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
    **dict.fromkeys(("bailing_hybrid", "kimi_linear"), by_layer.delta),
    **dict.fromkeys(("minimax", "minimax_m1", "minimax_text_01"), _minimax),
    **dict.fromkeys(("minimax_m3", "minimax_m3_vl"), _minimax_m3),
    **dict.fromkeys(("mimo_v2", "mimo_v2_flash"), by_layer.mimo),
    **dict.fromkeys(("step3p5", "step3p7"), by_layer.step),
    "afmoe": _afmoe,
    "arctic": _arctic,
    "aria": _aria,
    "cohere2_moe": _cohere,
    "dbrx": _dbrx,
    "ernie4_5_moe": _ernie,
    "gemma4": by_layer.gemma4,
    "gpt_oss": _gpt_oss,
    "hunyuan_v1_moe": by_layer.hunyuan,
    "jamba": by_layer.jamba,
    "laguna": _laguna,
    "lfm2_moe": by_layer.lfm2,
    "llama4": by_layer.llama4,
    "nemotron_h": by_layer.nemotron,
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
