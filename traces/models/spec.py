"""What a trace says about its model: the shape a simulator needs to cost and index it.

An expert is addressed by its flat id, ``moe_layer * experts + e``: only layers that route
have an index, so DeepSeek-V2-Lite's 27 layers give 26 MoE layers.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prefetch_sim.traces.models.precision import (
    Layer,
    Precision,
    Published,
    Stored,
    mlp,
    tensor_bytes,
)

# Far above any model's; ids of experts are of 16 bits, and -1 is none.
MOST_LAYERS, MOST_EXPERTS, WIDEST, MOST_BYTES = 1000, 32_767, 10_000_000, 10**12
Width = Annotated[int, Field(gt=0, le=WIDEST)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupedQueryAttention(_Frozen):
    """Multi-head attention whose ``heads`` query heads share ``kv_heads`` key/value heads."""

    kind: Literal["gqa"] = "gqa"
    heads: Width
    kv_heads: Width
    head_dim: Width
    value_dim: Width | None = Field(default=None, description="of a value's head, if not head_dim")
    gated: bool = Field(default=False, description="an output gate as wide as the queries")
    # Keys are values too (Gemma 4): one projection for both. Both are cached.
    shared_kv: bool = False
    # Window, in tokens, of the layers that attend locally; they are every second layer, the
    # first included (GPT-OSS), and in `other_attention` all that it names. None: every layer sees
    # the whole context.
    sliding_window: int | None = Field(default=None, gt=0, le=2**63 - 1)

    @property
    def of_value(self) -> int:
        """Elements of a value's head."""
        return self.value_dim or self.head_dim


class LatentAttention(_Frozen):
    """Multi-head latent attention (DeepSeek-V2): a compressed key/value of kv_rank + rope_dim."""

    kind: Literal["mla"] = "mla"
    heads: Width
    kv_rank: Width
    q_rank: Width | None = None
    nope_dim: Width
    rope_dim: Width
    v_dim: Width


class Recurrent(_Frozen):
    """A state-space layer or linear attention: a state of fixed size instead of a cache.

    Tokens are projected to ``projected`` elements, and from ``width`` back to the model's.
    """

    kind: Literal["recurrent"] = "recurrent"
    projected: Width
    width: Width
    state: int = Field(gt=0, le=10**9, description="elements that a request keeps, 32 bits each")


class NoAttention(_Frozen):
    """A layer that has an MLP or experts alone."""

    kind: Literal["none"] = "none"


Attention = Annotated[GroupedQueryAttention | LatentAttention, Field(discriminator="kind")]
Mixer = Annotated[
    GroupedQueryAttention | LatentAttention | Recurrent | NoAttention, Field(discriminator="kind")
]


class LayersAttention(_Frozen):
    """What ``layers`` of the transformer have instead of the model's usual attention."""

    layers: tuple[int, ...]
    attention: Mixer


class ModelSpec(_Frozen):
    """Shape of one Mixture-of-Experts transformer. Widths are in elements, bytes in bytes."""

    name: str
    layers: int = Field(gt=0, le=MOST_LAYERS, description="transformer layers, dense ones included")
    dense_layers: tuple[int, ...] = Field(default=(), description="layers without a router")
    hidden: Width
    experts: int = Field(gt=0, le=MOST_EXPERTS, description="routed experts a layer")
    top_k: int = Field(gt=0)
    expert_hidden: Width
    shared_experts: int = Field(
        default=0, ge=0, le=MOST_EXPERTS, description="always-on experts a layer"
    )
    shared_hidden: int = Field(default=0, ge=0, le=WIDEST, description="width of one shared expert")
    dense_hidden: int = Field(
        default=0, ge=0, le=WIDEST, description="MLP width of the dense layers"
    )
    bare_layers: tuple[int, ...] = Field(
        default=(), description="those of dense_layers that have no MLP at all"
    )
    mlp_matrices: Literal[2, 3] = Field(
        default=3, description="of each expert and MLP; 2 have no gate beside up and down"
    )
    expert_input: Width | None = Field(
        default=None, description="width that tokens are projected to before routed experts"
    )
    attention: Attention
    other_attention: tuple[LayersAttention, ...] = Field(
        default=(), description="of layers that differ from `attention`"
    )
    vocab: Width
    tied_embeddings: bool = Field(default=False, description="lm_head is the embedding")
    precision: Published = Published()
    expert_biases: bool = Field(default=False, description="kept beside the other weights")
    # Measured size of one expert per MoE layer. Engines that mix quantisations differ by layer;
    # when given, it overrides the size computed from shape and precision.
    expert_bytes: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if self.top_k > self.experts:
            raise ValueError(f"top_k {self.top_k} exceeds experts {self.experts}")
        if any(not 0 <= i < self.layers for i in self.dense_layers):
            raise ValueError(f"dense_layers {self.dense_layers} outside 0..{self.layers - 1}")
        if len(set(self.dense_layers)) >= self.layers:
            raise ValueError("no layer routes: dense_layers names them all")
        if not set(self.bare_layers) <= set(self.dense_layers):
            raise ValueError("bare_layers: some are none of dense_layers")
        others = [i for other in self.other_attention for i in other.layers]
        if any(not 0 <= i < self.layers for i in others) or len(set(others)) < len(others):
            raise ValueError(f"other_attention: layers are not once each in 0..{self.layers - 1}")
        if self.expert_bytes is not None and len(self.expert_bytes) != self.moe_layers:
            raise ValueError(
                f"expert_bytes has {len(self.expert_bytes)} entries, the model {self.moe_layers} "
                "MoE layers"
            )
        if self.expert_bytes is not None and min(self.expert_bytes) <= 0:
            raise ValueError("expert_bytes must be positive")
        if self.expert_bytes is not None and max(self.expert_bytes) > MOST_BYTES:
            raise ValueError(f"expert_bytes must be at most {MOST_BYTES:,}")
        return self

    @property
    def moe_layers(self) -> int:
        return self.layers - len(set(self.dense_layers))

    @property
    def moe_layer_indices(self) -> tuple[int, ...]:
        """Transformer layer of each MoE layer, in order."""
        return tuple(i for i in range(self.layers) if i not in self.dense_layers)

    @property
    def mixers(self) -> list[tuple[Mixer, int | None]]:
        """What each transformer layer attends with, and its window in tokens (None: all)."""
        usual = self.attention
        window = usual.sliding_window if isinstance(usual, GroupedQueryAttention) else None
        found: list[tuple[Mixer, int | None]] = [
            (usual, None if i % 2 else window) for i in range(self.layers)
        ]
        for other in self.other_attention:
            shape = other.attention
            window = shape.sliding_window if isinstance(shape, GroupedQueryAttention) else None
            for i in other.layers:
                found[i] = shape, window
        return found

    @property
    def expert_width(self) -> int:
        """Elements that go into a routed expert, and come out."""
        return self.expert_input or self.hidden

    @property
    def expert_weights(self) -> int:
        """Elements of one routed expert, biases apart."""
        return self.mlp_matrices * self.expert_width * self.expert_hidden

    @property
    def topology(self) -> tuple[int, int, int]:
        """(MoE layers, experts a layer, top-k): what a trace must agree with."""
        return self.moe_layers, self.experts, self.top_k

    def named(self, extra: int | None = None) -> int:
        """How many experts a predictor names: top-k and ``extra``, by default half of it again."""
        return min(self.experts, self.top_k + (-(-self.top_k // 2) if extra is None else extra))

    def place(self, layer: int) -> Layer:
        """Transformer layer ``layer`` as the rules of GGUF mixes know it."""
        shape = self.attention
        shared = shape.heads // shape.kv_heads if shape.kind == "gqa" else 1
        return Layer(layer, self.layers, self.experts, shared)

    def bytes_per_expert(self, precision: Stored = None) -> tuple[int, ...]:
        """Bytes of one expert, per MoE layer: ``expert_weights`` as they are stored.

        Measured sizes win while the experts' precision is the model's own.
        """
        stored = Precision.of(precision).over(self.precision).experts
        if self.expert_bytes is not None and stored == self.precision.experts:
            return self.expert_bytes
        tensors = mlp(self.expert_width, self.expert_hidden, "_exps", self.mlp_matrices)
        return tuple(
            round(sum(tensor_bytes(stored, tensor, self.place(layer)) for tensor in tensors))
            for layer in self.moe_layer_indices
        )
