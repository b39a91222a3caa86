"""Model shapes from a Hugging Face ``config.json``: one small function a family of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from prefetch_sim.traces.errors import describe, did_you_mean
from prefetch_sim.traces.models.precision import Published
from prefetch_sim.traces.models.spec import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    ModelSpec,
)

Config = dict[str, Any]


class ModelConfigError(ValueError):
    """A config.json cannot be read as a Mixture-of-Experts model: one line naming the key."""


def read_hf_config(config: Config, name: str | None = None) -> ModelSpec:
    """The shape of the model that ``config``, the parsed config.json, describes.

    ``name`` defaults to the last part of ``_name_or_path``, then to the model_type. Raises
    ModelConfigError naming a missing or wrong key, or a model_type that is not supported.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or family not in _FAMILIES:
        near = did_you_mean(str(family), _FAMILIES)
        raise ModelConfigError(f"config.json: model_type {family!r} is not supported{near}")
    path = str(config.get("_name_or_path") or family)
    try:
        return ModelSpec(
            name=name or path.rstrip("/").rsplit("/", 1)[-1],
            layers=_count(config, "num_hidden_layers"),
            hidden=_count(config, "hidden_size"),
            top_k=_count(config, "num_experts_per_tok", "experts_per_token"),
            vocab=_count(config, "vocab_size"),
            precision=_precision(config),
            **_FAMILIES[family](config),
        )
    except ValidationError as error:
        raise ModelConfigError(f"config.json: {describe(error, ModelSpec)}") from None


def _deepseek(config: Config) -> Config:
    return _fine_grained(config) | {
        "attention": LatentAttention(
            heads=_count(config, "num_attention_heads"),
            kv_rank=_count(config, "kv_lora_rank"),
            q_rank=config.get("q_lora_rank"),
            nope_dim=_count(config, "qk_nope_head_dim"),
            rope_dim=_count(config, "qk_rope_head_dim"),
            v_dim=_count(config, "v_head_dim"),
        ),
    }


def _glm(config: Config) -> Config:
    return _fine_grained(config) | {"attention": _grouped(config)}


def _fine_grained(config: Config) -> Config:
    """Dense layers first, then many small experts and shared ones beside them."""
    layers, first = _count(config, "num_hidden_layers"), _optional(config, "first_k_dense_replace")
    every = _optional(config, "moe_layer_freq") or 1
    dense = tuple(i for i in range(layers) if i < first or i % every)
    shared = _optional(config, "n_shared_experts")
    return {
        "dense_layers": dense,
        "dense_hidden": _count(config, "intermediate_size") if dense else 0,
        "experts": _count(config, "n_routed_experts"),
        "expert_hidden": _count(config, "moe_intermediate_size"),
        "shared_experts": shared,
        "shared_hidden": _count(config, "moe_intermediate_size") if shared else 0,
    }


def _qwen(config: Config) -> Config:
    layers, every = (
        _count(config, "num_hidden_layers"),
        _optional(config, "decoder_sparse_step") or 1,
    )
    only_mlp = _list(config, "mlp_only_layers") or ()
    dense = tuple(i for i in range(layers) if i in only_mlp or (i + 1) % every)
    shared = _optional(config, "shared_expert_intermediate_size")  # Qwen2 has one, Qwen3 none
    return {
        "dense_layers": dense,
        "dense_hidden": _count(config, "intermediate_size") if dense else 0,
        "experts": _count(config, "num_experts", "num_local_experts"),
        "expert_hidden": _count(config, "moe_intermediate_size"),
        "shared_experts": 1 if shared else 0,
        "shared_hidden": shared,
        "attention": _grouped(config),
    }


def _uniform(config: Config) -> Config:
    """Every layer routes and ``intermediate_size`` is an expert's width."""
    return {
        "experts": _count(config, "num_local_experts", "num_experts"),
        "expert_hidden": _count(config, "intermediate_size"),
        "attention": _grouped(config),
    }


def _gpt_oss(config: Config) -> Config:
    kinds = _list(config, "layer_types")
    alternating = ["sliding_attention", "full_attention"]
    if kinds is not None and any(kind != alternating[i % 2] for i, kind in enumerate(kinds)):
        raise ModelConfigError(
            "config.json: layer_types: only sliding and full attention in turns is supported"
        )
    return _uniform(config) | {
        "attention": _grouped(config, config.get("sliding_window")),
        "expert_biases": True,
    }


# The other families publish a window only as long as their context, or leave it unused.
def _grouped(config: Config, window: int | None = None) -> Attention:
    heads = _count(config, "num_attention_heads")
    return GroupedQueryAttention(
        heads=heads,
        kv_heads=_optional(config, "num_key_value_heads") or heads,
        head_dim=_optional(config, "head_dim") or _count(config, "hidden_size") // heads,
        sliding_window=window,
    )


_FAMILIES: dict[str, Callable[[Config], Config]] = {
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "glm4_moe": _glm,
    "gpt_oss": _gpt_oss,
    "granitemoe": _uniform,
    "mixtral": _uniform,
    "olmoe": _uniform,
    "phimoe": _uniform,
    "qwen2_moe": _qwen,
    "qwen3_moe": _qwen,
}


def _precision(config: Config) -> Published:
    """16-bit unless the published weights are quantised: MXFP4 of experts, others of attention too.

    Unless, that is, the config says that attention was left as it is.
    """
    quantization = config.get("quantization_config")
    if not quantization:
        return Published()
    if not isinstance(quantization, dict):
        raise ModelConfigError(
            f"config.json: quantization_config: {quantization!r} is not a mapping"
        )
    method, bits = quantization.get("quant_method"), quantization.get("bits")
    if method == "mxfp4":
        return Published(experts="mxfp4")
    left = str(quantization.get("modules_to_not_convert"))
    whole = "self_attn" not in left and "attention" not in left
    if method == "fp8":
        return Published(experts="fp8", attention="fp8" if whole else "bf16")
    if method in ("gptq", "awq") and bits == 4:
        return Published(experts="int4", attention="int4" if whole else "bf16")
    raise ModelConfigError(
        f"config.json: quantization_config: quant_method {method!r} with bits {bits!r} is not "
        "supported; known: mxfp4, fp8, gptq and awq of 4 bits"
    )


def _count(config: Config, *keys: str) -> int:
    """The first of ``keys`` that is there: a positive whole number."""
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        if type(value) is not int or value <= 0:
            raise ModelConfigError(f"config.json: {key}: {value!r} is not a positive whole number")
        return value
    raise ModelConfigError(f"config.json: {keys[0]} is missing")


def _optional(config: Config, key: str) -> int:
    """``key``, or 0 where it is missing, null or zero."""
    return _count(config, key) if config.get(key) else 0


def _list(config: Config, key: str) -> list[Any] | None:
    value = config.get(key)
    if value is not None and not isinstance(value, list):
        raise ModelConfigError(f"config.json: {key}: {value!r} is not a list")
    return value
