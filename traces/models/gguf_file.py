"""Model shapes from GGUF files: sizes by tensor, from the header alone, whatever is quantised how.

Shapes are those of the tensors; only what they leave open (heads, windows, experts a token) is
taken from the metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefetch_sim.traces.errors import describe
from prefetch_sim.traces.models.gguf_header import Tensor, read_header
from prefetch_sim.traces.models.keys import ModelConfigError
from prefetch_sim.traces.models.mixers import by_layer
from prefetch_sim.traces.models.precision import Name, Published
from prefetch_sim.traces.models.spec import (
    MOST_LAYERS,
    GroupedQueryAttention,
    LatentAttention,
    Mixer,
    ModelSpec,
    NoAttention,
    Recurrent,
)

_PLAIN = {"F32": "f32", "F16": "f16", "BF16": "bf16", "MXFP4": "mxfp4", "NVFP4": "nvfp4"}


def read_gguf(path: Path, name: str | None = None) -> ModelSpec:
    """The shape of the model in ``path``, which may be the first of several parts.

    Raises ModelConfigError, naming what is missing, or the package that it needs.
    """
    metadata, tensors = read_header(path)
    try:
        return _File(metadata, tensors).spec(name or path.stem)
    except ValidationError as error:
        raise ModelConfigError(describe(error, ModelSpec)) from None
    except (LookupError, ArithmeticError):
        raise ModelConfigError("a tensor has a shape that is none") from None


class _File:
    """The tensors of a file by layer, and its metadata without the architecture's name."""

    def __init__(self, metadata: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._architecture = str(metadata.get("general.architecture", ""))
        start = f"{self._architecture}."
        self._metadata = {
            key.removeprefix(start): value for key, value in metadata.items()
            if key.startswith(start)
        }  # fmt: skip
        self._layers: list[dict[str, Tensor]] = []
        self._whole: dict[str, Tensor] = {}
        beyond = self._number("nextn_predict_layers", 0)
        layers = self._number("block_count") - beyond
        if not 0 < layers <= MOST_LAYERS:
            raise ModelConfigError(f"block_count: {layers} layers")
        self._layers = [{} for _ in range(layers)]
        for name, tensor in tensors.items():
            at = re.fullmatch(r"blk\.(\d{1,4})\.([\w.]+)\.weight", name, re.ASCII)
            if at is None:
                self._whole[name.removesuffix(".weight")] = tensor
            elif int(at[1]) < layers:
                self._layers[int(at[1])][at[2]] = tensor

    def spec(self, name: str) -> ModelSpec:
        embedding = self._matrix(self._whole, "token_embd")
        hidden, vocab = embedding.shape[:2]
        routing = [i for i, own in enumerate(self._layers) if "ffn_down_exps" in own]
        if not routing:
            raise ModelConfigError("no layer has experts (tensors ffn_down_exps)")
        expert = [_only(self._layers[i], "_exps") for i in routing]
        down = self._matrix(expert[0], "ffn_down_exps", 3)
        width, into, experts = down.shape
        dense = [i for i in range(len(self._layers)) if i not in routing]
        bare = [i for i in dense if "ffn_down" not in self._layers[i]]
        mlps = [_only(own, "") for own in self._layers]
        # An MLP beside the experts of its layer is always on, as shared experts are.
        always = [{**_only(self._layers[i], "_shexp"), **mlps[i]} for i in routing]
        dense_hidden = max((t.shape[0] for i in dense for t in _downs(mlps[i])), default=0)
        shared_hidden = sum(t.shape[0] for t in _downs(always[0]))
        beside = [t for i in dense for t in mlps[i].values()]
        beside += [t for own in self._layers for n, t in own.items() if _attends(n)]
        # Several shared experts lie in one tensor, side by side.
        shared = self._number("expert_shared_count", 0) or int(shared_hidden > 0)
        shared = shared if shared and shared_hidden % shared == 0 else int(shared_hidden > 0)
        types = {
            "experts": _stored(t for own in expert for t in own.values()),
            "shared": _stored(t for own in always for t in own.values()),
            "attention": _stored(beside),
            "head": _stored([self._whole.get("output", embedding)]),
            "embedding": _stored([embedding]),
        }
        if types["embedding"] == types["head"]:
            del types["embedding"]
        return ModelSpec(
            name=name,
            layers=len(self._layers),
            dense_layers=tuple(dense),
            bare_layers=tuple(bare),
            hidden=hidden,
            experts=experts,
            top_k=self._number("expert_used_count"),
            expert_hidden=width,
            expert_input=None if into == hidden else into,
            mlp_matrices=3 if expert[0].keys() & {"ffn_gate_exps", "ffn_gate_up_exps"} else 2,
            shared_experts=shared,
            shared_hidden=shared_hidden // shared if shared else 0,
            dense_hidden=dense_hidden,
            vocab=vocab,
            tied_embeddings="output" not in self._whole,
            expert_biases=self._architecture == "gpt-oss",
            precision=Published.model_validate({k: v for k, v in types.items() if v}),
            expert_bytes=tuple(sum(t.nbytes for t in own.values()) // experts for own in expert),
            **by_layer([self._mixer(i, hidden) for i in range(len(self._layers))]),
        )

    def _mixer(self, layer: int, hidden: int) -> Mixer:
        own = self._layers[layer]
        if "ssm_out" in own or "shortconv.out_proj" in own:
            return self._recurrent(own, hidden)
        if "attn_output" not in own:
            return NoAttention()
        out = self._matrix(own, "attn_output").shape[0]
        heads = self._number("attention.head_count", layer=layer)
        if "attn_kv_a_mqa" in own:
            rope = self._number("rope.dimension_count")
            rank = self._matrix(own, "attn_kv_a_mqa").shape[1] - rope
            query = self._matrix(own, "attn_q_b" if "attn_q_b" in own else "attn_q")
            return LatentAttention(
                heads=heads,
                kv_rank=rank,
                q_rank=query.shape[0] if "attn_q_b" in own else None,
                nope_dim=query.shape[1] // heads - rope,
                rope_dim=rope,
                v_dim=out // heads,
            )
        kv_heads = self._number("attention.head_count_kv", heads, layer=layer)
        value = out // heads
        if "attn_qkv" in own:
            return GroupedQueryAttention(heads=heads, kv_heads=kv_heads, head_dim=value)
        dim = self._matrix(own, "attn_k").shape[1] // kv_heads
        asked, gate = self._matrix(own, "attn_q").shape[1], own.get("attn_gate")
        gated = asked == heads * dim + out or (gate is not None and gate.shape[-1] == out)
        return GroupedQueryAttention(
            heads=heads,
            kv_heads=kv_heads,
            head_dim=dim,
            value_dim=None if value == dim else value,
            gated=gated,
            shared_kv="attn_v" not in own,
            sliding_window=self._window(layer),
        )

    def _window(self, layer: int) -> int | None:
        """Where no pattern says which layers see a window, only gpt-oss is known to have one."""
        window = self._number("attention.sliding_window", 0)
        pattern = self._metadata.get("attention.sliding_window_pattern")
        if isinstance(pattern, list):
            local = bool(pattern[layer]) if layer < len(pattern) else False
        elif isinstance(pattern, int) and pattern > 0:
            local = bool((layer + 1) % pattern)
        else:
            local = self._architecture == "gpt-oss" and layer % 2 == 0
        return window if window and local else None

    def _recurrent(self, own: dict[str, Tensor], hidden: int) -> Recurrent:
        out = own.get("ssm_out") or own["shortconv.out_proj"]
        width = out.shape[0]
        convolved = "shortconv.out_proj" in own
        state = self._number("shortconv.l_cache" if convolved else "ssm.state_size", 0)
        state = state or self._number("kda.head_dim")
        names = re.compile(r"ssm_(?!out|conv1d|norm|a$|d$)|attn_(qkv|gate|q|k|v)$|shortconv\.in")
        into = sum(t.weights for name, t in own.items() if names.match(name))
        return Recurrent(projected=max(into // hidden, 1), width=width, state=width * state)

    def _matrix(self, own: dict[str, Tensor], name: str, dims: int = 2) -> Tensor:
        tensor = own.get(name)
        if tensor is None or len(tensor.shape) != dims or min(tensor.shape) <= 0:
            raise ModelConfigError(f"tensor {name} is missing, or has not {dims} dimensions")
        return tensor

    def _number(self, key: str, default: int | None = None, layer: int | None = None) -> int:
        value = self._metadata.get(key, default)
        if isinstance(value, list) and layer is not None and layer < len(value):
            value = value[layer]
        if type(value) is not int or value < 0 or (value == 0 and default != 0):
            raise ModelConfigError(f"{self._architecture or 'general'}.{key}: missing, or no count")
        return value


def _only(own: dict[str, Tensor], suffix: str) -> dict[str, Tensor]:
    pattern = re.compile(rf"ffn_(gate|up|down|gate_up){suffix}")
    return {name: tensor for name, tensor in own.items() if pattern.fullmatch(name)}


def _downs(own: dict[str, Tensor]) -> list[Tensor]:
    return [tensor for name, tensor in own.items() if name.startswith("ffn_down")]


_ATTENDS = re.compile(
    r"attn_(?!.*norm)|ssm_(in|out|ba|x|dt|f_|g_|beta|alpha)|ffn_latent|shortconv\.(in|out)"
)


def _attends(name: str) -> bool:
    return _ATTENDS.match(name) is not None


def _stored(tensors: Iterable[Tensor]) -> Name | None:
    """One type where all have it, else their mean bits; None where there are none."""
    found = list(tensors)
    types, weights = {t.type for t in found}, sum(t.weights for t in found)
    if len(types) == 1 and (known := _PLAIN.get(next(iter(types)))):
        return known
    return f"gguf@{sum(t.nbytes for t in found) * 8 / weights:.6f}" if weights else None
