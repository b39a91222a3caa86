"""The top-k of each token, then ``prefetch.extra`` more at lower priority."""

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
    size, k = len(ids), limits.k
    n = 0
    for rank in range(min(width, k + limits.extra)):
        later = 0 if rank < k else 1
        i = rank
        while i < size:  # of each token
            x = ids[i]
            i += width
            if x >= 0 and seen[x] != stamp:
                seen[x] = stamp
                out[n] = x
                priority[n] = later
                n += 1
    return n
