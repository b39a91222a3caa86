"""The top-k of each token, then ``prefetch.extra`` more at lower priority."""

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
    if tokens == 1:  # one set repeats nothing
        for rank in range(min(width, k + extra)):
            x = ids[rank]
            if x >= 0:
                out[n] = x
                priority[n] = 0 if rank < k else 1
                n += 1
        return n
    for rank in range(min(width, k + extra)):
        for i in range(rank, len(ids), width):
            x = ids[i]
            if x >= 0 and seen[x] != stamp:
                seen[x] = stamp
                out[n] = x
                priority[n] = 0 if rank < k else 1
                n += 1
    return n
