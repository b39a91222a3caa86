"""Words on prediction against the same without: whose, where it changes little, what is apart."""

from __future__ import annotations

from collections.abc import Sequence

from prefetch_sim.experiments.conclusions import figures
from prefetch_sim.experiments.conclusions.comparisons import Difference
from prefetch_sim.experiments.conclusions.figures import NOTICED
from prefetch_sim.experiments.text import count, percent


def little(found: Sequence[Difference]) -> str:
    """Where nothing was loaded ahead, that is why; else loading it did not pay."""
    alike = [d for d in found if abs(d.share) < NOTICED]
    idle = sum(bool(figures.unused(d.point.result)) for d in alike)
    said = f", changes little in {len(alike)}" if alike else ""
    return said + (f" (in {idle} of these nothing was loaded ahead)" if idle else "")


def not_counted(found: Sequence[Difference], counted: Sequence[Difference]) -> list[str]:
    """How those did that see the future, which do not count."""
    if not found:
        return []
    oracles = all(figures.recall(d.point.result) is not None for d in found)
    perfect = any(figures.foresees(d.point.result) for d in counted)
    named = "Policies that see the future" if not oracles else "Oracles"
    named += " of a lower recall" if perfect and oracles else ""
    helps, hurts = (sum(way * d.share >= NOTICED for d in found) for way in (-1, 1))
    most = max(d.share for d in found)
    return [
        f"{named} are not counted: against none they take less time in {helps} of "
        f"{count(len(found), 'comparison')}, more in {hurts}"
        f"{f' (up to {percent(most)})' if hurts else ''}."
    ]


def who(found: Sequence[Difference]) -> str:
    """What predicts: an engine, or what none can have."""
    results = [one.point.result for one in found]
    if not all(map(figures.foresees, results)):
        return "Prefetch"
    perfect = all(figures.recall(result) == 1 for result in results)
    return "A perfect oracle" if perfect else "Prefetch beside policies that see the future"
