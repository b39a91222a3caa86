"""Every candidate whose score reaches ``prefetch.threshold``, most certain rank first."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence


def propose(
    ids: Sequence[int],
    scores: Sequence[float],
    tokens: int,
    k: int,
    extra: int,
    threshold: float,
    resident: Sequence[bool],
    lead_ns: int,
    backlog_ns: int,
    load_ns: int,
    seen: MutableSequence[int],
    stamp: int,
    out: MutableSequence[int],
    priority: MutableSequence[int],
) -> int:
    width = len(ids) // tokens
    n = 0
    for rank in range(width):
        for i in range(rank, len(ids), width):
            x = ids[i]
            if x >= 0 and scores[i] >= threshold and seen[x] != stamp:
                seen[x] = stamp
                out[n] = x
                priority[n] = 0 if rank < k else 1
                n += 1
    return n
