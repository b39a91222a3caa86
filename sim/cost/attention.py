"""Multiply-adds and bytes of one attention layer, from its shape. What is computed has 16 bits,
what is cached as many as it is stored in.

Grouped-query attention reads ``2 · kv_heads · head_dim`` elements for each token of the context.
Latent attention (DeepSeek-V2, arXiv 2405.04434) decodes in absorbed form: queries meet the cached
latent of ``kv_rank + rope_dim`` elements, and W_UK, W_UV are applied to the new token only, at
the cost they have in the plain form. Prefill expands keys and values for every token in sight.
A recurrent layer reads and writes its state, of 32 bits an element, once a request and step; each
token decays it, reads it, corrects it and reads it again (the delta rule; Mamba does less).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

from prefetch_sim.traces.models.spec import (
    GroupedQueryAttention,
    Mixer,
    NoAttention,
    Recurrent,
)
from prefetch_sim.traces.models.weights import projections

Phase = Literal["prefill", "decode"]

BYTES = 2  # an element of what is computed
STATE_BYTES = 4  # an element of a recurrent layer's state
_STATE_FLOPS = 7  # an element and token
_UNBOUNDED = sys.maxsize


class AttentionWork(NamedTuple):
    """Coefficients of one layer. A pair is one new token attending to one token of its context."""

    weights: int  # elements of the projections
    pair_flops: int
    kv_bytes: float  # read for each token in sight
    cached_flops: int  # to expand one token that was cached before this step
    token_flops: int = 0  # for each new token, beside the projections
    state_bytes: int = 0  # kept for each request, whatever its context

    @classmethod
    def of(
        cls,
        shape: Mixer,
        hidden: int,
        phase: Phase,
        element: float = BYTES,
    ) -> AttentionWork:
        """The work of ``shape`` in a model of width ``hidden``, cached in ``element`` bytes."""
        weights = sum(tensor.weights for tensor in projections(shape, hidden))
        if isinstance(shape, Recurrent):
            return cls(weights, 0, 0, 0, _STATE_FLOPS * shape.state, STATE_BYTES * shape.state)
        if isinstance(shape, NoAttention):
            return cls(weights, 0, 0, 0)
        heads = shape.heads
        if isinstance(shape, GroupedQueryAttention):
            dims = shape.head_dim + shape.of_value
            return cls(weights, 2 * heads * dims, shape.kv_heads * dims * element, 0)
        query = heads * (shape.nope_dim + shape.rope_dim)
        latent = shape.kv_rank + shape.rope_dim
        expand = shape.kv_rank * heads * (shape.nope_dim + shape.v_dim)
        if phase == "decode":
            return cls(weights, 2 * heads * (latent + shape.kv_rank), latent * element, 0)
        values = heads * shape.v_dim
        # Expanded keys and values are written once and read once.
        return cls(weights, 2 * (query + values), 2 * (query + values) * BYTES, 2 * expand)


def tokens_in_sight(
    counts: Sequence[int], contexts: Sequence[int], window: int | None
) -> tuple[int, int]:
    """(pairs, context tokens read) of a causal layer, summed over requests.

    Request i adds ``counts[i]`` tokens to the ``contexts[i]`` it has cached; each token attends to
    itself and what precedes it, at most ``window`` tokens in all.
    """
    reach = _UNBOUNDED if window is None else window
    pairs = read = 0
    for new, cached in zip(counts, contexts):
        growing = min(max(reach - cached, 0), new)  # tokens whose window is not yet full
        pairs += growing * cached + growing * (growing + 1) // 2 + (new - growing) * reach
        read += min(cached + new, reach + new - 1)
    return pairs, read


def decode_in_sight(contexts: Sequence[int], window: int | None) -> int:
    """`tokens_in_sight` for one new token a request, where pairs and tokens read are the same."""
    if window is None:
        return sum(contexts) + len(contexts)
    return sum(min(cached + 1, window) for cached in contexts)
