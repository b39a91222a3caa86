"""Slots hold the experts that are in one memory, each where its load has put it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.replay.weights import Layout


class Slots:
    """Gives each expert of ``tier`` a place in ``memory``, uint8 [slots, stride].

    A place is taken when a load of the expert starts, and free when the tier lets it go.
    """

    def __init__(self, tier: Tier, memory: torch.Tensor, layout: Layout) -> None:
        self._memory = memory
        self._partition_of = tier.partition_of
        self._free: list[list[int]] = []
        first = 0
        for capacity in tier.capacities:
            count = capacity // layout.nbytes
            self._free.append(list(range(first + count - 1, first - 1, -1)))
            first += count
        self._place: dict[int, int] = {}
        self._matrices = [layout.matrices(slot) for slot in memory]
        self._samples = [layout.samples(slot) for slot in memory]
        told = tier.on_evict

        def leaves(x: int) -> None:
            if told is not None:
                told(x)
            self.leave(x)

        tier.on_evict = leaves

    @staticmethod
    def needed(tier: Tier, layout: Layout) -> int:
        """How many slots ``tier`` has room for."""
        return sum(capacity // layout.nbytes for capacity in tier.capacities)

    def take(self, x: int) -> torch.Tensor:
        """The place of ``x``, uint8 [stride], found for it now if it has none."""
        place = self._place.get(x)
        if place is None:
            place = self._place[x] = self._free[self._partition_of[x]].pop()
        return self._memory[place]

    def leave(self, x: int) -> None:
        self._free[self._partition_of[x]].append(self._place.pop(x))

    def matrices(self, x: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights of ``x``, which is here."""
        return self._matrices[self._place[x]]

    @property
    def first(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights, of whatever expert, in the first place."""
        return self._matrices[0]

    def holds(self, x: int, digest: npt.NDArray[np.int32]) -> bool:
        """Whether the place of ``x`` holds what is known by ``digest``."""
        return bool((self._samples[self._place[x]].cpu().numpy() == digest).all())

    def held(self) -> list[int]:
        """The experts that have a place."""
        return list(self._place)


def fill(tier: Tier, slots: Slots, bring: Callable[[int, torch.Tensor], None]) -> None:
    """Bring what ``tier`` holds before anything runs."""
    for x, here in enumerate(tier.resident):
        if here:
            bring(x, slots.take(x))


def check_held(tier: Tier, check: Callable[[int], None]) -> None:
    """Look at everything that ``tier`` holds."""
    for x, here in enumerate(tier.resident):
        if here:
            check(x)
