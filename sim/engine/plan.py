"""Asks the miss policy what the CPU computes of a layer, and says how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from prefetch_sim.sim.cost.cpu import CpuCost
from prefetch_sim.sim.cost.transfers import LoadPath
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.misses.base import ABSENT, MOVES, WAITS, Layer


class Plan:
    """Decides at routing, as docs/timing.md has it; ``up_to``: ``misses.up_to``."""

    def __init__(
        self, policy: ModuleType, cost: CpuCost, path: LoadPath, loader: Loader, up_to: int
    ) -> None:
        self._policy, self._cost, self._path = policy, cost, path
        self._loader, self._up_to = loader, up_to

    def on_cpu(
        self, layer: int, routed: Sequence[int], served: Sequence[int], tokens: int
    ) -> dict[int, int]:
        """The experts of ``routed`` that the CPU computes, with the tokens that each serves.

        ``served`` is by place in ``routed``, ``tokens`` those of the step.
        """
        loader, path = self._loader, self._path
        cache, host = loader.cache, loader.host
        resident = cache.resident
        missing = [
            (x, n)
            for x, n in zip(routed, served)
            if not resident[x] and (host is None or host.resident[x])
        ]
        if not missing:
            return {}
        state = [
            ABSENT if load is None else MOVES if load.started >= 0 else WAITS
            for load in (loader.in_flight.get(x) for x, _ in missing)
        ]
        first = missing[0][0]
        if cache.sizes[first] > cache.room[cache.partition_of[first]]:
            return dict(missing)  # none of them could be loaded
        chosen = [0] * len(missing)
        self._policy.plan(
            len(missing),
            [self._cost.expert_ns(layer, n, False) for _, n in missing],
            state,
            Layer(
                tokens,
                self._up_to,
                path.load_ns[layer],
                path.backlog_ns(loader.moving),
                self._cost.fixed_ns(tokens),
            ),
            chosen,
        )
        return {x: n for (x, n), here in zip(missing, chosen) if here}

    def group_ns(self, layer: int, served: Sequence[int], tokens: int) -> int:
        """How long the CPU takes for its experts of a layer, once the others are demanded."""
        loader = self._loader
        contended = loader.moving > 0 or loader.waiting > 0
        each = [self._cost.expert_ns(layer, n, contended) for n in served]
        return self._cost.fixed_ns(tokens) + sum(each)
