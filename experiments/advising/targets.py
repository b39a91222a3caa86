"""Whether a speed that somebody wants is reached, and what would reach it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

LARGEST_CARD = 178  # GiB, of the list: more memory than that on one GPU is no advice
WHOLE_MACHINE = "all_gb="  # one memory of so many GB, as it is sold, that holds all experts
ALL_IN_MEMORY = ("host_gib=", WHOLE_MACHINE)


@dataclass(frozen=True)
class Way:
    """Something that would reach it."""

    what: str
    tokens_s: float
    at_best: bool = False


@dataclass(frozen=True)
class Target:
    """``met``: yes, where all of the band is; no, where none is; unknown, where only at best."""

    tokens_s: float
    met: Literal["yes", "likely", "unlikely", "no", "unknown"]
    by: tuple[Way, ...]


def judged(
    wanted: float,
    band: tuple[float, float, float],
    others: Sequence[Way],
    lacking_gib: float,
    larger: Callable[[float], float],
    at_best: bool = False,
) -> Target:
    """Judge ``wanted`` tokens/s by what is expected, ``band`` being (low, expected, high).

    ``others`` are tried already; ``larger`` gives tokens/s with so many GiB more, of which
    ``lacking_gib`` are the most that is of use: the fewest that reach it are looked for. What is
    expected ``at_best`` meets nothing; what would reach it at best is of use where that does not.
    """
    low, expected, high = band
    if expected >= wanted and not at_best:
        return Target(wanted, "yes" if low >= wanted else "likely", ())
    unknown = at_best and expected >= wanted
    by = [way for way in others if way.tokens_s >= wanted and not (unknown and way.at_best)]
    if lacking_gib > 0 and (speed := larger(lacking_gib)) >= wanted:
        found = Way(f"memory_gib+{lacking_gib:.3g}", speed)
        first, last = 1, ceil(lacking_gib)
        while first < last:  # whole GiB
            middle = (first + last) // 2
            if (speed := larger(middle)) >= wanted:
                last, found = middle, Way(f"memory_gib+{middle}", speed)
            else:
                first = middle + 1
        wholes = [way for way in by if way.what.startswith(WHOLE_MACHINE)]
        same = any(found.tokens_s > 0.99 * way.tokens_s for way in wholes)  # all in memory, too
        if not same and found.what not in {way.what for way in by}:  # tried already
            by.append(found)
    if high < wanted:
        return Target(wanted, "no", tuple(by))
    return Target(wanted, "unknown" if unknown else "unlikely", tuple(by))
