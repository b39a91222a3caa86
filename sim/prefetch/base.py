"""What a prefetch policy is: a module with one function over flat arrays.

It only proposes. The loader removes duplicates, finds room, orders, cancels and counts.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any, NamedTuple, Protocol, Self

from prefetch_sim.sim.config.foreign import BrokenContractError


class Limits(NamedTuple):
    """What a policy may go by, beside the prediction itself."""

    k: int
    extra: int  # prefetch.extra
    threshold: float  # prefetch.threshold
    lead_ns: int = 0  # expected time until the target layer is routed
    backlog_ns: int = 0  # what the link has still to move
    load_ns: int = 0  # one load of the target layer


def _untold(name: str) -> Any:
    def read(limits: Limits) -> int:
        raise BrokenContractError(
            "prefetch",
            f"propose reads {name}, which only a module, or a function, with TIMED = True is told",
        )

    return property(read)


class Untimed(Limits):
    """Limits of a policy that did not ask for times: it must not take their 0 for one.

    Nor when it unpacks them, or asks by number; ``limits[:3]`` and ``_replace`` read no times.
    """

    lead_ns = _untold("lead_ns")
    backlog_ns = _untold("backlog_ns")
    load_ns = _untold("load_ns")

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._fields)

    def __getitem__(self, at: Any) -> Any:
        names = self._fields[at]
        if isinstance(at, slice):
            return tuple(getattr(self, name) for name in names)
        return getattr(self, str(names))

    def _replace(self, **changed: Any) -> Self:
        return type(self)(*Limits(*self[:3])._replace(**changed))


class PrefetchPolicy(Protocol):
    """A module may set ``TIMED = True``; without it the times in ``Limits`` stay 0.

    Of one that is not of this package, reading them without it ends the run.
    """

    def propose(
        self,
        ids: Sequence[int],
        scores: Sequence[float],
        tokens: int,
        limits: Limits,
        resident: Sequence[bool],
        seen: MutableSequence[int],
        stamp: int,
        out: MutableSequence[int],
        priority: MutableSequence[int],
    ) -> int:
        """Write proposals to ``out`` and ``priority`` (lower is served first); return how many.

        ``ids`` and ``scores`` hold, for each of ``tokens`` tokens in turn, the same number of
        candidates, best first, -1 for none. ``seen[x] == stamp`` marks what has been proposed
        already; ``out`` has room for every expert of a layer. Only ``ids`` and ``scores`` have a
        ``len``: the others may be bare memory, read and written by numbers from 0 on.
        """
