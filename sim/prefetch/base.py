"""What a prefetch policy is: a module with one function over flat arrays.

It only proposes. The loader removes duplicates, finds room, orders, cancels and counts.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Protocol


class PrefetchPolicy(Protocol):
    def propose(
        self,
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
        """Write proposals to ``out`` and ``priority`` (lower is served first); return how many.

        ``ids`` and ``scores`` hold, for each of ``tokens`` tokens in turn, the same number of
        candidates, best first, -1 for none. ``lead_ns`` is the expected time until the target
        layer is routed, ``backlog_ns`` what the link has still to move, both 0 unless the module
        sets ``TIMED``; ``load_ns`` is one load.
        ``seen[x] == stamp`` marks what has been proposed already; ``out`` has room for every
        expert of a layer.
        """
