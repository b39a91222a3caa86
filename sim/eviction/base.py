"""What an eviction is: a module of small functions over flat arrays.

The cache (``sim.memory``) owns legality: it never asks about a pinned or in-flight expert. The
eviction only scores residents, and the lowest score leaves first (ties: the lowest expert id).
``x`` is a flat expert id, ``now`` the running number of the layer-step (step × layers + layer),
``score`` the score ``x`` holds. Each function returns the score ``x`` has from then on.

``passed``, ``predicted`` and ``spared`` are optional: a module without them keeps the score.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

NEVER = 1 << 40  # later than any layer-step


class Future(NamedTuple):
    """When each expert will be used: flat arrays, for evictions allowed to look ahead.

    The uses of ``x`` are ``positions[start[x]:start[x + 1]]``, ascending layer-step numbers;
    ``cursor[x]`` is the next one not yet looked past.
    """

    positions: npt.NDArray[np.int32]
    start: list[int]
    cursor: list[int]


class Eviction(Protocol):
    def new_state(self, experts: int, layers: int, seed: int, future: Future | None) -> Any:
        """Flat arrays for ``experts`` flat ids over ``layers`` MoE layers."""

    def inserted(self, state: Any, x: int, now: int) -> int:
        """``x`` has landed. A demanded one is reported as used right after."""

    def used(self, state: Any, x: int, now: int, score: int) -> int:
        """``x`` is in the routed set of layer-step ``now``."""

    def evicted(self, state: Any, x: int, now: int, score: int) -> None:
        """``x`` has left."""


class PassedHook(Protocol):
    def passed(self, state: Any, x: int, now: int, score: int) -> int:
        """The layer of ``x`` was routed at ``now`` and did not use it."""


class PredictedHook(Protocol):
    def predicted(self, state: Any, x: int, now: int, score: int) -> int:
        """A prediction made during ``now`` names ``x`` for a layer still to come."""


class SparedHook(Protocol):
    def spared(self, state: Any, x: int, now: int, score: int) -> int:
        """``x`` is pinned; one with a higher score has left in its stead."""
