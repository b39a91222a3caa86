"""The compiled engine's tier, its code run by Python, behind the face of ``sim.memory.Tier``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sim.compiled import memory, policies, setup
from sim.compiled.arrays import A_PARTITION, FREE, IN_LIST, IN_TREE, NOW_AT, OWN_QUEUES, PIN
from sim.memory import Tier

OPTIONAL = ("passed", "predicted", "spared")
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
    with patch.multiple(
        policies,
        EVICTIONS=[eviction],
        KEPT_IN=[kept_in],
        HOOKS=[[int(hasattr(eviction, name)) for name in OPTIONAL]],
        **{name: called(name) for name in OPTIONAL + OTHERS},
    ):
        yield


class CompiledTier:
    def __init__(self, empty: Tier, eviction: Any) -> None:
        self.sizes, self.capacities = empty.sizes, empty.capacities
        self.partition_of = empty.partition_of
        self._tier = setup.make_tier(empty, eviction)
        self._tier.of[PIN], self._layers = 0, empty.layers
        self._pinned: Collection[int] = ()

    @property
    def now(self) -> int:
        return int(self._tier.of[NOW_AT])

    @now.setter
    def now(self, now: int) -> None:
        self._tier.of[NOW_AT] = now

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
        self._tier.of[PIN] += 1 + (layer - self._tier.of[PIN] - 1) % self._layers
        self._tier.pin[list(experts)] = self._tier.of[PIN]

    @property
    def resident(self) -> list[bool]:
        return [bool(there) for there in self._tier.resident]

    @property
    def free(self) -> list[int]:
        return [int(n) for n in self._tier.part[FREE::A_PARTITION]]

    def reserve(self, x: int) -> bool:
        return memory.reserve(self._tier, x) >= 0

    def insert(self, x: int) -> None:
        memory.insert(self._tier, x, False)

    def use(self, experts: Iterable[int]) -> None:
        for x in experts:
            memory.use(self._tier, x)

    def routed(self, layer: int, routed: Collection[int]) -> None:
        if self._tier.passed:
            self._pin(routed)
            memory.pass_over(self._tier, layer)
            self._pin(self._pinned)

    def predict(self, experts: Iterable[int]) -> None:
        if self._tier.predicted:
            for x in experts:
                if self._tier.resident[x]:
                    memory.predict(self._tier, x)
