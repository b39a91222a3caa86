"""Which layers route, and their experts, however a config.json says so."""

from __future__ import annotations

from typing import Any

from prefetch_sim.traces.models.keys import Config, count, items, optional

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


def routed(config: Config, width: str = "moe_intermediate_size") -> Fields:
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


def one_shared(width: int) -> Fields:
    return {"shared_experts": int(width > 0), "shared_hidden": width}
