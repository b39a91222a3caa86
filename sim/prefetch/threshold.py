"""Every candidate whose score reaches ``prefetch.threshold``, most certain rank first."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

from prefetch_sim.sim.prefetch.base import Limits


def propose(
    ids: Sequence[int],
    scores: Sequence[float],
    tokens: int,
    limits: Limits,
    resident: Sequence[bool],
    seen: MutableSequence[int],
    stamp: int,
    out: MutableSequence[int],
    priority: MutableSequence[int],
) -> int:
    width = len(ids) // tokens
    k = limits.k
    n = 0
    for rank in range(width):
        for i in range(rank, len(ids), width):
            x = ids[i]
            if x >= 0 and scores[i] >= limits.threshold and seen[x] != stamp:
                seen[x] = stamp
                out[n] = x
                priority[n] = 0 if rank < k else 1
                n += 1
    return n
