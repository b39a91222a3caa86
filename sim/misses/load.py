"""Every missing expert is loaded."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

from prefetch_sim.sim.misses.base import Layer


def plan(
    count: int,
    cpu_ns: Sequence[int],
    state: Sequence[int],
    layer: Layer,
    chosen: MutableSequence[int],
) -> None:
    for i in range(count):
        chosen[i] = 0
