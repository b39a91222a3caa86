"""Multiply-adds and bytes of one attention layer, from its shape. What is computed has 16 bits,
what is cached as many as it is stored in.

Grouped-query attention reads ``2 · kv_heads · head_dim`` elements for each token of the context.
Latent attention (DeepSeek-V2, arXiv 2405.04434) decodes in absorbed form: queries meet the cached
latent of ``kv_rank + rope_dim`` elements, and W_UK, W_UV are applied to the new token only, at
the cost they have in the plain form. Prefill expands keys and values for every token in sight.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

from prefetch_sim.traces.models.spec import GroupedQueryAttention, LatentAttention
from prefetch_sim.traces.models.weights import projections

Phase = Literal["prefill", "decode"]

BYTES = 2  # an element of what is computed
_UNBOUNDED = sys.maxsize


class AttentionWork(NamedTuple):
    """Coefficients of one layer. A pair is one new token attending to one token of its context."""

    weights: int  # elements of the projections
    pair_flops: int
    kv_bytes: float  # read for each token in sight
    cached_flops: int  # to expand one token that was cached before this step

    @classmethod
    def of(
        cls,
        shape: GroupedQueryAttention | LatentAttention,
        hidden: int,
        phase: Phase,
        element: float = BYTES,
    ) -> AttentionWork:
        """The work of ``shape`` in a model of width ``hidden``, cached in ``element`` bytes."""
        heads = shape.heads
        weights = sum(tensor.weights for tensor in projections(shape, hidden))
        if isinstance(shape, GroupedQueryAttention):
            width, kv_width = heads * shape.head_dim, shape.kv_heads * shape.head_dim
            return cls(weights, 4 * width, 2 * kv_width * element, 0)
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
