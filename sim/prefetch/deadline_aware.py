"""The top-k (and ``prefetch.extra``), but only what can land before its layer is routed."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

TIMED = True  # reads lead_ns and backlog_ns


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
    lands = backlog_ns
    for rank in range(min(width, k + extra)):
        for i in range(rank, len(ids), width):
            x = ids[i]
            if x < 0 or seen[x] == stamp:
                continue
            seen[x] = stamp
            if not resident[x]:
                if lands + load_ns > lead_ns:
                    continue
                lands += load_ns
            out[n] = x
            priority[n] = 0 if rank < k else 1
            n += 1
    return n
