"""Each missing expert goes where it will be through first, the CPU or the link, in turn."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

from prefetch_sim.sim.misses.base import MOVES, Layer


def plan(
    count: int,
    cpu_ns: Sequence[int],
    state: Sequence[int],
    layer: Layer,
    chosen: MutableSequence[int],
) -> None:
    link, cpu = layer.link_ns, layer.cpu_ns  # when each is through with what it has been given
    for i in range(count):
        by_link = link if state[i] == MOVES else link + layer.load_ns
        by_cpu = cpu + cpu_ns[i]
        if by_cpu < by_link:
            chosen[i], cpu = 1, by_cpu
        else:
            chosen[i], link = 0, by_link
