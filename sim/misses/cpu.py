"""The CPU computes what is missing in steps of up to ``misses.up_to`` tokens; else it is loaded."""

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
    computes = 1 if layer.tokens <= layer.up_to else 0
    for i in range(count):
        chosen[i] = computes
