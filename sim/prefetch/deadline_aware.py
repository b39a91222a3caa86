"""The top-k (and ``prefetch.extra``), but only what can land before its layer is routed."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

from prefetch_sim.sim.prefetch.base import Limits

TIMED = True


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
    lands = limits.backlog_ns
    for rank in range(min(width, k + limits.extra)):
        for i in range(rank, len(ids), width):
            x = ids[i]
            if x < 0 or seen[x] == stamp:
                continue
            seen[x] = stamp
            if not resident[x]:
                if lands + limits.load_ns > limits.lead_ns:
                    continue
                lands += limits.load_ns
            out[n] = x
            priority[n] = 0 if rank < k else 1
            n += 1
    return n
