"""Whether the requests bear a difference of two runs out, as numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefetch_sim.experiments.conclusions.figures import NOTICED, Result
from prefetch_sim.experiments.text import number
from prefetch_sim.sim.results.paired import ENOUGH, Paired, paired


@dataclass(frozen=True)
class Evidence:
    """A paired comparison. ``narrow``: its interval is too narrow, as requests depend on others."""

    pairs: Paired
    narrow: bool

    @property
    def enough(self) -> bool:
        return self.pairs.enough

    @property
    def borne(self) -> bool:
        """Whether other requests like these would show a difference of this sign, and noticed."""
        return self.pairs.real and self.noticed and not self.narrow

    @property
    def noticed(self) -> bool:
        return abs(self.pairs.share) >= NOTICED


def evidence(a: Result, b: Result) -> Evidence | None:
    """B against A; None where no request has tokens to compare, or each ran others."""
    if "by_request" not in a or "by_request" not in b:
        return None
    try:
        pairs = paired(a["by_request"], b["by_request"])
    except ValueError:
        return None
    batched = any(side["config"]["batch_size"] > 1 for side in (a, b))
    return Evidence(pairs, batched or pairs.chained) if pairs.requests else None


def of_one(found: Evidence | None) -> str:
    """What ends a sentence that names a difference."""
    if found is None:
        return ""
    pairs = found.pairs
    if not pairs.enough:
        return f" (too few requests to tell: {pairs.requests} of the {ENOUGH} that it takes)"
    interval = f"95 % interval {number(pairs.low)} to {number(pairs.high)} ms"
    if not pairs.real:
        return f" (the requests do not bear that out: {interval})"
    if not found.noticed:
        return f" (too little to count: {interval})"
    if found.narrow:
        return f" (requests depend on each other, so that less than this is sure: {interval})"
    return f" (the requests bear that out: {interval})"


def of_many(found: Sequence[Evidence | None], share: float) -> str:
    """The same of a difference under several conditions, which is ``share`` over all of them.

    A condition whose requests bear out a difference of the other sign speaks against it.
    """
    enough = [one for one in found if one is not None and one.enough]
    if not enough:
        return " (too few requests to tell)" if any(found) else ""
    ways = [(one.pairs.difference < 0) == (share < 0) for one in enough if one.borne]
    said = [f"borne out by the requests in {sum(ways)} of {len(enough)}"]
    other, unsure = len(ways) - sum(ways), len(enough) - len(ways)
    if other:
        said.append(f"the other way in {other}")
    if unsure:
        said.append(f"open in {unsure}")
    return f" ({', '.join(said)})"
