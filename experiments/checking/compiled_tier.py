"""The compiled engine's tier, its code run by Python, behind the face of ``Tier``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from prefetch_sim.sim.compiled import memory, policies
from prefetch_sim.sim.compiled.arrays import IN_LIST, IN_TREE, OWN_QUEUES
from prefetch_sim.sim.compiled.tiers import make_tier
from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.jit.rows import plain

OPTIONAL = ("not_routed", "predicted", "spared")
OTHERS = ("inserted", "used", "evicted", "victim", "kept")


@contextmanager
def known_to_the_kernel(eviction: Any) -> Iterator[None]:
    """``eviction`` is the only one there is, and none of it is compiled."""

    def called(name: str) -> Callable[..., Any]:
        hook = getattr(eviction, name, None)
        return lambda code, state, *numbers: hook and hook(state, *map(int, numbers))

    kept_in = (
        OWN_QUEUES
        if hasattr(eviction, "victim")
        else IN_LIST
        if getattr(eviction, "ASCENDING", False)
        else IN_TREE
    )
    parts: dict[str, Any] = {name: called(name) for name in OPTIONAL + OTHERS}
    with patch.multiple(
        policies,
        EVICTIONS=[eviction],
        KEPT_IN=[kept_in],
        HOOKS=[[int(hasattr(eviction, name)) for name in OPTIONAL]],
        **parts,
    ):
        yield


class CompiledTier:
    """The tier that the compiled engine makes of ``empty``, under ``eviction``."""

    def __init__(self, empty: Tier, eviction: Any) -> None:
        self.sizes, self.capacities = empty.sizes, empty.capacities
        self.partition_of = empty.partition_of
        self._tier: Any = plain(make_tier(empty, eviction))
        self._tier.at.pin = 0
        self._pinned: Collection[int] = ()

    @property
    def now(self) -> int:
        return int(self._tier.at.now)

    @now.setter
    def now(self, now: int) -> None:
        self._tier.at.now = now

    @property
    def pinned(self) -> Collection[int]:
        return self._pinned

    @pinned.setter
    def pinned(self, experts: Collection[int]) -> None:
        self._pinned = experts
        self._pin(experts)

    def _pin(self, experts: Collection[int]) -> None:
        # Later, and a layer-step of their layer.
        layer = min(experts, default=0) // self._tier.width
        at = self._tier.at
        at.pin += 1 + (layer - at.pin - 1) % self._tier.layers
        for x in experts:
            self._tier.pin[x] = at.pin

    @property
    def resident(self) -> list[bool]:
        return [bool(there) for there in self._tier.resident]

    @property
    def free(self) -> list[int]:
        return [partition.free for partition in self._tier.partitions]

    def reserve(self, x: int) -> bool:
        return memory.reserve(self._tier, x) >= 0

    def insert(self, x: int) -> None:
        memory.insert(self._tier, x, False)

    def use(self, experts: Iterable[int]) -> None:
        for x in experts:
            memory.use(self._tier, x)

    def routed(self, layer: int, routed: Collection[int]) -> None:
        if self._tier.not_routed:
            self._pin(routed)
            memory.routed(self._tier, layer)
            self._pin(self._pinned)

    def predict(self, experts: Iterable[int]) -> None:
        if self._tier.predicted:
            for x in experts:
                if self._tier.resident[x]:
                    memory.predict(self._tier, x)
