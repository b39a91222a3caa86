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
from prefetch_sim.traces.models.spec import (
    GroupedQueryAttention,
    Mixer,
    ModelSpec,
    NoAttention,
    Recurrent,
)


class Weights(NamedTuple):
    """Bytes. Norms, and the biases of attention, are left out: a thousandth of a layer."""

    experts: tuple[int, ...]  # one routed expert, by MoE layer
    shared: tuple[int, ...]  # shared experts, by MoE layer
    attention: tuple[int, ...]  # projections, by layer
    dense: tuple[int, ...]  # MLP, by dense layer
    gate: int  # of one MoE layer
    biases: int  # of one MoE layer's experts, where they have any
    latent: tuple[int, ...]  # into and out of `expert_input`, by MoE layer
    head: int
    embedding: int  # 0 where it is lm_head
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

        def whole(name: str, tensor: str) -> int:
            return round(tensor_bytes(name, Tensor(tensor, hidden, vocab), places[0]))

        matrices, latent = model.mlp_matrices, model.expert_input or 0
        shared = mlp(hidden, model.shared_hidden * model.shared_experts, "_shexp", matrices)
        into = [Tensor("ffn_latent_down", hidden, latent), Tensor("ffn_latent_up", latent, hidden)]
        bare = set(model.bare_layers)
        dense = [places[i] for i in sorted(set(model.dense_layers) - bare)]
        # Gates and biases are never quantised: GGUF keeps them in 32 bits, others in 16.
        plain = 4 if gguf(stored.attention) or stored.attention == "f32" else 2
        each_bias = (matrices - 1) * model.expert_hidden + model.expert_width
        return cls(
            experts=model.bytes_per_expert(precision),
            shared=each(shared, stored.shared, routing),
            attention=tuple(
                each(projections(mixer, hidden), stored.attention, [at])[0]
                for at, (mixer, _) in zip(places, model.mixers)
            ),
            dense=each(mlp(hidden, model.dense_hidden, "", matrices), stored.attention, dense),
            gate=hidden * model.experts * plain,
            biases=model.experts * each_bias * plain if model.expert_biases else 0,
            latent=each(into, stored.attention, routing) if latent else (),
            head=whole(stored.head, "output"),
            embedding=0
            if model.tied_embeddings
            else whole(stored.embedding or stored.head, "token_embd"),
            kv=size(stored.kv),
        )

    @property
    def beside_experts(self) -> int:
        """All but the routed experts and the KV cache."""
        layers = sum(map(sum, (self.shared, self.attention, self.dense, self.latent)))
        return layers + len(self.experts) * (self.gate + self.biases) + self.head + self.embedding


def projections(shape: Mixer, hidden: int) -> list[Tensor]:
    """The tensors of one layer's attention in a model of width ``hidden``."""
    if isinstance(shape, NoAttention):
        return []
    if isinstance(shape, Recurrent):
        return [Tensor("ssm_in", hidden, shape.projected), Tensor("ssm_out", shape.width, hidden)]
    if isinstance(shape, GroupedQueryAttention):
        width, out = shape.heads * shape.head_dim, shape.heads * shape.of_value
        found = [
            Tensor("attn_q", hidden, width + out if shape.gated else width),
            Tensor("attn_k", hidden, shape.kv_heads * shape.head_dim),
            Tensor("attn_v", hidden, shape.kv_heads * shape.of_value),
            Tensor("attn_output", out, hidden),
        ]
        return [t for t in found if not (shape.shared_kv and t.name == "attn_v")]
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
