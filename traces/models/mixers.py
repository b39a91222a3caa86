"""What each layer attends with, from the keys of a config.json: attention, windows, states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.models.keys import Config, ModelConfigError, count, items, optional
from prefetch_sim.traces.models.spec import (
    MOST_LAYERS,
    GroupedQueryAttention,
    LatentAttention,
    LayersAttention,
    Mixer,
    Recurrent,
)

FULL = ("full_attention", "attention", "indexed_attention")
LOCAL = ("sliding_attention", "chunked_attention")


def grouped(config: Config, **more: Any) -> GroupedQueryAttention:
    heads = count(config, "num_attention_heads")
    given = {
        "heads": heads,
        "kv_heads": optional(config, "num_key_value_heads") or heads,
        "head_dim": optional(config, "head_dim") or count(config, "hidden_size") // heads,
    }
    return GroupedQueryAttention(**given | more)


def latent(config: Config) -> LatentAttention:
    return LatentAttention(
        heads=count(config, "num_attention_heads"),
        kv_rank=count(config, "kv_lora_rank"),
        q_rank=optional(config, "q_lora_rank") or None,
        nope_dim=count(config, "qk_nope_head_dim"),
        rope_dim=count(config, "qk_rope_head_dim"),
        v_dim=count(config, "v_head_dim"),
    )


def delta_net(config: Config) -> Recurrent:
    """Gated DeltaNet (Qwen3-Next)."""
    keys, values = count(config, "linear_num_key_heads"), count(config, "linear_num_value_heads")
    key, value = count(config, "linear_key_head_dim"), count(config, "linear_value_head_dim")
    return Recurrent(
        projected=2 * keys * key + 2 * values * (value + 1),
        width=values * value,
        state=values * key * value,
    )


def mamba2(config: Config, heads: str, dim: str, groups: str, state: str) -> Recurrent:
    inner, each = count(config, heads) * count(config, dim), count(config, state)
    return Recurrent(
        projected=2 * inner + 2 * count(config, groups) * each + count(config, heads),
        width=inner,
        state=inner * each,
    )


def mamba(config: Config) -> Recurrent:
    """The first Mamba (Jamba): its step sizes and matrices are projected from its inner width."""
    hidden, each = count(config, "hidden_size"), count(config, "mamba_d_state")
    inner = count(config, "mamba_expand") * hidden
    rank = config.get("mamba_dt_rank")
    rank = count(config, "mamba_dt_rank") if rank not in ("auto", None) else -(-hidden // 16)
    beside = inner * (2 * rank + 2 * each)
    return Recurrent(projected=2 * inner + beside // hidden, width=inner, state=inner * each)


def delta_attention(config: Config, low_rank: bool) -> Recurrent:
    """Kimi Delta Attention, its decay and its gate each of two small matrices or of a full one."""
    own = config.get("linear_attn_config") or {}
    if not isinstance(own, dict):
        raise ModelConfigError("config.json: linear_attn_config is not a mapping")
    config = {
        **config,
        **{f"linear_{k}": own[k] for k in ("head_dim", "num_heads") if k in own},
    }
    heads, dim = count(config, "linear_num_heads"), count(config, "linear_head_dim")
    width = heads * dim
    gates = 2 * (dim + width * dim // count(config, "hidden_size")) if low_rank else 2 * width
    return Recurrent(projected=3 * width + heads + gates, width=width, state=width * dim)


def lightning(config: Config) -> Recurrent:
    """MiniMax's linear attention, with an output gate."""
    shape = grouped(config)
    width = shape.heads * shape.head_dim
    return Recurrent(projected=4 * width, width=width, state=width * shape.head_dim)


def short_convolution(config: Config) -> Recurrent:
    hidden = count(config, "hidden_size")
    length = count(config, "conv_L_cache", "conv_l_cache")
    return Recurrent(projected=3 * hidden, width=hidden, state=hidden * length)


def kinds(config: Config, known: Sequence[str], default: Sequence[str] = ()) -> list[str]:
    """``layer_types``, or ``default`` where there are none, checked against ``known``."""
    layers = count(config, "num_hidden_layers")
    if layers > MOST_LAYERS:
        raise ModelConfigError(f"config.json: num_hidden_layers: more than {MOST_LAYERS:,}")
    found = items(config, "layer_types") or list(default) or [FULL[0]] * layers
    if len(found) < layers:
        raise ModelConfigError(f"config.json: layer_types has {len(found)} of {layers} layers")
    for kind in found[:layers]:
        if kind not in known:
            raise ModelConfigError(
                f"config.json: layer_types: {shown(kind)} is none of {', '.join(known)}"
            )
    return found[:layers]


def by_layer(mixers: Sequence[Mixer]) -> dict[str, Any]:
    """The fields of a ModelSpec whose layers have ``mixers``.

    What most layers that attend have is its usual attention, without its window.
    """
    attending = [m for m in mixers if isinstance(m, GroupedQueryAttention | LatentAttention)]
    if not attending:
        raise ModelConfigError("config.json: no layer attends")
    whole = [m for m in attending if isinstance(m, LatentAttention) or m.sliding_window is None]
    usual = max(whole or attending, key=(whole or attending).count)
    if isinstance(usual, GroupedQueryAttention):
        usual = usual.model_copy(update={"sliding_window": None})
        # Every second one, the first included, has a shorter form.
        for window in {m.sliding_window for m in mixers if isinstance(m, GroupedQueryAttention)}:
            turns = usual.model_copy(update={"sliding_window": window})
            if list(mixers) == [(turns, usual)[i % 2] for i in range(len(mixers))]:
                return {"attention": turns}
    others = {m: tuple(i for i, n in enumerate(mixers) if n == m) for m in mixers if m != usual}
    found: dict[str, Any] = {"attention": usual}
    if others:
        found["other_attention"] = tuple(
            LayersAttention(layers=layers, attention=mixer) for mixer, layers in others.items()
        )
    return found


def windowed(
    config: Config,
    default: Sequence[str] = (),
    *,
    usual: GroupedQueryAttention | None = None,
    local: GroupedQueryAttention | None = None,
    more: Mapping[str, Mixer] | None = None,
) -> dict[str, Any]:
    """By ``layer_types``: some layers see it all, some a window, some have ``more`` by kind."""
    usual = usual or grouped(config)
    more = more or {}
    found = kinds(config, (*FULL, *LOCAL, *more), default)
    by_kind: dict[str, Mixer] = {**dict.fromkeys(FULL, usual), **more}
    for kind, key in zip(LOCAL, ("sliding_window", "attention_chunk_size")):
        if kind in found:
            window = count(config, key)
            by_kind[kind] = (local or usual).model_copy(update={"sliding_window": window})
    return by_layer([by_kind[kind] for kind in found])
