"""What an eviction is: a module of small functions over flat arrays.

The cache owns legality: it never asks about a pinned or in-flight expert, and tells nothing of one
that is static. The eviction only scores residents, and the lowest score leaves first (ties: the
lowest expert id). ``x`` is a flat expert id, ``now`` the running number of the layer-step (step ×
layers + layer), ``score`` the score ``x`` holds. Each function returns the score ``x`` has from
then on, an integer.

``evicted``, ``not_routed``, ``predicted`` and ``spared`` are optional: a module without them keeps
the score. The SimPy engine calls these functions as they are, the compiled engine compiles them; so
they keep what they remember in ``State`` and use numbers, tuples and each other, no Python objects.
A module that brings its own ``new_state`` may remember anything, and runs on the SimPy engine
alone.

One whose every new score is at least as high as all others may say so, ``ASCENDING = True``: the
compiled engine then keeps the order in a list, which is faster, and wrong for any other.

One that keeps queues instead of scores has ``victim`` and ``kept`` too (``QueueHooks``), and
returns 0 as every score.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from prefetch_sim.sim.workload.future import Future

NEVER = 1 << 40  # later than any layer-step
LAYERS, WIDTH, SEED, FIRST, SECOND = range(5)  # places of State.shared; the last two are free


class State(NamedTuple):
    """What an eviction may remember: lists, or bare memory of 64-bit integers when compiled.

    So they are read and written by numbers from 0 on: no ``len``, no slice, no loop over one.
    """

    own: MutableSequence[int]  # one integer an expert, at first 0
    shared: MutableSequence[int]  # layers, experts a layer, seed, and two free, at first 0
    future: Future  # empty unless the module sets LOOKS_AHEAD = True


def new_state(experts: int, layers: int, seed: int, future: Future | None) -> State:
    """The state of ``experts`` flat ids over ``layers`` MoE layers, as Python lists."""
    if future is None:
        future = Future(np.empty(0, dtype=np.int32), [0] * (experts + 1), [0] * experts)
    return State([0] * experts, [layers, experts // layers, seed, 0, 0], future)


class Eviction(Protocol):
    def inserted(self, state: Any, x: int, now: int) -> int:
        """``x`` has landed. A demanded one is reported as used right after."""

    def used(self, state: Any, x: int, now: int, score: int) -> int:
        """``x`` is in the routed set of layer-step ``now``."""


class EvictedHook(Protocol):
    def evicted(self, state: Any, x: int, now: int, score: int) -> None:
        """``x`` has left."""


class NotRoutedHook(Protocol):
    def not_routed(self, state: Any, x: int, now: int, score: int) -> int:
        """The layer of ``x`` was routed at ``now`` and did not use it.

        Told once after ``x`` arrived, was used or (of a module with ``predicted``) was proposed,
        not each time: so it is no place to count.
        """


class PredictedHook(Protocol):
    def predicted(self, state: Any, x: int, now: int, score: int) -> int:
        """The policy proposes ``x``, resident, during ``now`` for a layer still to come."""


class SparedHook(Protocol):
    def spared(self, state: Any, x: int, now: int, score: int) -> int:
        """``x`` is pinned; one that should leave after it has left in its stead.

        Told once each time that room is made, once the others have left.
        """


class BeginHook(Protocol):
    def begin(self, state: State, rooms: Sequence[int]) -> State:
        """Before anything arrives: ``rooms`` of its largest experts fit in each partition.

        Beside static ones, which it does not hear of; 0 where there are no others.

        May return a state whose ``own`` and ``shared`` have more integers.
        """


class QueueHooks(Protocol):
    def victim(self, state: Any, p: int, now: int) -> int:
        """The expert of partition ``p`` to let go next, taken out of its queue; -1 for none."""

    def kept(self, state: Any, x: int, now: int) -> None:
        """``x``, just taken out, stays: it is pinned, or there is no use in letting it go."""
