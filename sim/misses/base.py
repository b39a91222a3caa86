"""What a miss policy is: a module with one function over flat arrays.

It only says which missing experts the CPU computes. The rest of them are loaded.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import NamedTuple, Protocol

ABSENT, WAITS, MOVES = range(3)  # what becomes of a missing expert: nothing, or a load of it


class Layer(NamedTuple):
    """What a policy may go by, beside the missing experts themselves. Times in ns."""

    tokens: int  # of the step
    up_to: int  # misses.up_to
    load_ns: int  # one load, right behind another
    link_ns: int  # until what moves has landed, at the full rate of the last link
    cpu_ns: int  # what the CPU takes beside its experts, if it computes any


class MissPolicy(Protocol):
    """A module that chooses between a load and the CPU."""

    def plan(
        self,
        count: int,
        cpu_ns: Sequence[int],
        state: Sequence[int],
        layer: Layer,
        chosen: MutableSequence[int],
    ) -> None:
        """Write 1 to ``chosen[i]`` if the CPU computes missing expert ``i``, else 0.

        The ``count`` experts stand in the order of the routed set: ``cpu_ns[i]`` is what the CPU
        takes for it, ``state[i]`` whether a load of it waits or moves. Only what host memory holds
        whole is asked for. The arrays may be bare memory, read and written by numbers from 0 on.
        """
