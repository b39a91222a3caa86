"""What a sweep says in words: below its table, and in a file of its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from prefetch_sim.experiments.runs import silent
from prefetch_sim.experiments.sweeps.export import CONCLUSION, Row
from prefetch_sim.experiments.sweeps.points import Point
from prefetch_sim.experiments.sweeps.store import Store
from prefetch_sim.traces.files import replacing

if TYPE_CHECKING:
    from prefetch_sim.experiments.conclusions.comparisons import Measured


def measured(plan: Sequence[Point], store: Store) -> list[Measured]:
    """The points that have a result, as conclusions take them, in the sweep's order."""
    from prefetch_sim.experiments.conclusions.comparisons import Measured

    outcomes = store.get(point.key for point in plan)
    results = {key: outcome.result for key, outcome in outcomes.items()}
    found = ((point, results.get(point.key)) for point in plan)
    return [Measured(point.axes, result) for point, result in found if result is not None]


def conclude(folder: Path, points: Sequence[Measured], of: int) -> list[str]:
    """Write ``conclusion.md`` of the ``points`` that have run; ``of`` is how many the sweep has.

    Returns its lines; those that begin with a dash are items of a list.
    """
    from prefetch_sim.experiments.conclusions.sweeps import of_sweep

    lines = of_sweep(points)
    if len(points) < of:
        lines.insert(0, f"Of {len(points)} of {of} points: the others have no result.")
    if not lines:
        return []
    items = [line.startswith("- ") for line in lines]
    breaks = ["\n" if one and other else "\n\n" for one, other in pairwise(items)]
    text = "".join(line + gap for line, gap in zip(lines, [*breaks, "\n"]))
    with replacing(folder / CONCLUSION) as whole:
        whole.write_text(text, encoding="utf-8")
    return lines


def said_nothing(points: Sequence[Measured]) -> Iterator[str]:
    """A line for each predictor that named nobody in the whole of a point."""
    has = Counter(name for point in points for name in point.result["predictors"])
    for name, at in Counter(name for point in points for name in silent(point.result)).items():
        where = f"at {at} of its {has[name]} points" if has[name] > 1 else "at its only point"
        yield f"warning: the predictor {name!r} said nothing {where}"


def telling(
    plan: Sequence[Point], rows: Sequence[Row], points: Sequence[Measured], most: int
) -> list[Row]:
    """The ``most`` rows, at most, that tell most of a sweep's; ``rows`` are in the plan's order."""
    from prefetch_sim.experiments.conclusions.comparisons import Swept, shown

    by_labels = {tuple(point.axes.values()): row for point, row in zip(plan, rows)}
    return [by_labels[tuple(point.axes.values())] for point in shown(Swept(points), most)]
