"""How many bytes each part of a model takes, as its weights are stored."""

from __future__ import annotations

from typing import NamedTuple

from prefetch_sim.traces.models.precision import (
    Layer,
    Precision,
    Stored,
    Tensor,
    gguf,
    mlp,
    size,
    tensor_bytes,
)
from prefetch_sim.traces.models.spec import Attention, GroupedQueryAttention, ModelSpec


class Weights(NamedTuple):
    """Bytes. Norms, and the biases of attention, are left out: a thousandth of a layer."""

    experts: tuple[int, ...]  # one routed expert, by MoE layer
    shared: tuple[int, ...]  # shared experts, by MoE layer
    attention: tuple[int, ...]  # projections, by layer
    dense: tuple[int, ...]  # MLP, by dense layer
    gate: int  # of one MoE layer
    biases: int  # of one MoE layer's experts, where they have any
    head: int
    embedding: int
    kv: float  # an element of the KV cache

    @classmethod
    def of(cls, model: ModelSpec, precision: Stored = None) -> Weights:
        """Those of ``model`` in ``precision``; what that leaves out is as it was published."""
        stored = Precision.of(precision).over(model.precision)
        places = [model.place(i) for i in range(model.layers)]
        routing = [places[i] for i in model.moe_layer_indices]
        hidden, vocab = model.hidden, model.vocab

        def each(tensors: list[Tensor], name: str, where: list[Layer]) -> tuple[int, ...]:
            return tuple(round(sum(tensor_bytes(name, t, at) for t in tensors)) for at in where)

        def whole(tensor: str) -> int:
            return round(tensor_bytes(stored.head, Tensor(tensor, hidden, vocab), places[0]))

        shared = mlp(hidden, model.shared_hidden * model.shared_experts, "_shexp")
        dense = [at for i, at in enumerate(places) if i in model.dense_layers]
        # Gates and biases are never quantised: GGUF keeps them in 32 bits, others in 16.
        plain = 4 if gguf(stored.attention) or stored.attention == "f32" else 2
        each_bias = 2 * model.expert_hidden + hidden
        return cls(
            experts=model.bytes_per_expert(precision),
            shared=each(shared, stored.shared, routing),
            attention=each(projections(model.attention, hidden), stored.attention, places),
            dense=each(mlp(hidden, model.dense_hidden), stored.attention, dense),
            gate=hidden * model.experts * plain,
            biases=model.experts * each_bias * plain if model.expert_biases else 0,
            head=whole("output"),
            embedding=whole("token_embd"),
            kv=size(stored.kv),
        )

    @property
    def beside_experts(self) -> int:
        """All but the routed experts and the KV cache."""
        layers = sum(self.shared) + sum(self.attention) + sum(self.dense)
        return layers + len(self.experts) * (self.gate + self.biases) + self.head + self.embedding


def projections(shape: Attention, hidden: int) -> list[Tensor]:
    """The tensors of one layer's attention in a model of width ``hidden``."""
    if isinstance(shape, GroupedQueryAttention):
        width, kv_width = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        return [
            Tensor("attn_q", hidden, width),
            Tensor("attn_k", hidden, kv_width),
            Tensor("attn_v", hidden, kv_width),
            Tensor("attn_output", width, hidden),
        ]
    query = shape.heads * (shape.nope_dim + shape.rope_dim)
    if shape.q_rank is None:
        queries = [Tensor("attn_q", hidden, query)]
    else:
        queries = [
            Tensor("attn_q_a", hidden, shape.q_rank),
            Tensor("attn_q_b", shape.q_rank, query),
        ]
    return [
        *queries,
        Tensor("attn_kv_a_mqa", hidden, shape.kv_rank + shape.rope_dim),
        Tensor("attn_k_b", shape.nope_dim, shape.heads * shape.kv_rank),
        Tensor("attn_v_b", shape.kv_rank, shape.heads * shape.v_dim),
        Tensor("attn_output", shape.heads * shape.v_dim, hidden),
    ]
