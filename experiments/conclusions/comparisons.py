"""Policies of a sweep set against each other under each of its conditions: numbers, no words.

Axes of predictor, prefetch, misses, eviction, static experts and the cache's scope are policies:
what an engine can choose. All others are conditions, which are given (machine, model, capacity).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from prefetch_sim.experiments.conclusions import figures
from prefetch_sim.experiments.conclusions.evidence import Evidence, evidence
from prefetch_sim.experiments.conclusions.figures import NOTICED, Result

Labels = tuple[str, ...]

POLICIES = (
    "predictor",
    "prefetch",
    "misses",
    "cache.eviction",
    "cache.static",
    "cache.scope",
)
_AHEAD = POLICIES[:2]  # axes that mean nothing where nothing is predicted
_NO_FIGURES = (  # of results
    "name", "model", "hardware", "as_given", "runtime", "config", "engine", "events",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Measured:
    """A point that has run. ``axes``: the label of its value on each axis, by path."""

    axes: Mapping[str, str]
    result: Result = field(repr=False)

    @property
    def time(self) -> float | None:
        return figures.time_of(self.result)


@dataclass(frozen=True)
class Difference:
    """How much more time one point takes than another, as a share; less, where negative."""

    point: Measured
    base: Measured
    share: float

    @cached_property
    def evidence(self) -> Evidence | None:
        return evidence(self.base.result, self.point.result)

    @property
    def faster(self) -> bool | None:
        """Whether the point is, as far as the requests bear that out; None where they do not."""
        found = self.evidence
        if found is None or not found.enough or not found.borne:
            return None
        return found.pairs.difference < 0


class Swept:
    """The points of a sweep that have a time, by condition and policy.

    ``idle``: axes along which no figure changes; of points that differ in these alone, one is kept.
    """

    def __init__(self, points: Iterable[Measured]) -> None:
        self.points = [point for point in points if point.time is not None]
        paths = list(self.points[0].axes) if self.points else []
        varied = [p for p in paths if len({point.axes[p] for point in self.points}) > 1]
        self.idle: list[str] = []
        for path in list(varied):
            one_of_each = _idle(self.points, path, varied)
            if one_of_each is not None:
                self.points = one_of_each
                varied.remove(path)
                self.idle.append(path)
        self.policy_axes = [path for path in varied if under(path, POLICIES)]
        self.condition_axes = [path for path in varied if path not in self.policy_axes]
        self._bases = {self._around(p): p for p in self.points if not figures.predicts(p.result)}

    def label(self, point: Measured, path: str) -> str:
        """Its value on the axis; "" of how to prefetch where nothing is predicted: one run."""
        idle = under(path, ("prefetch",)) and not figures.predicts(point.result)
        return "" if idle else point.axes[path]

    def policy(self, point: Measured) -> Labels:
        return tuple(self.label(point, path) for path in self.policy_axes)

    def condition(self, point: Measured) -> Labels:
        return tuple(point.axes[path] for path in self.condition_axes)

    @property
    def feasible(self) -> list[Measured]:
        """The points that an engine could be; all, where these are bounds alone."""
        return [p for p in self.points if not figures.foresees(p.result)] or self.points

    @property
    def bounds_alone(self) -> bool:
        """Whether each point sees the future."""
        return all(figures.foresees(point.result) for point in self.points)

    def by_condition(self, points: Iterable[Measured]) -> dict[Labels, list[Measured]]:
        found: dict[Labels, list[Measured]] = {}
        for point in points:
            found.setdefault(self.condition(point), []).append(point)
        return found

    def without(self, point: Measured) -> Measured | None:
        """The point that differs in predicting nothing; None where there is none, or it is that."""
        return self._bases.get(self._around(point)) if figures.predicts(point.result) else None

    def _around(self, point: Measured) -> Labels:
        policies = [point.axes[path] for path in self.policy_axes if not under(path, _AHEAD)]
        return *self.condition(point), *policies


def _idle(points: Sequence[Measured], path: str, varied: Sequence[str]) -> list[Measured] | None:
    """One point for each place along ``path``; None where a figure changes along it.

    Each place has to have every value of the axis: of what was not run nothing is known.
    """
    groups: dict[Labels, list[Measured]] = {}
    for point in points:
        groups.setdefault(tuple(point.axes[p] for p in varied if p != path), []).append(point)
    values = len({point.axes[path] for point in points})
    for group in groups.values():
        first = _figures(group[0])
        if len(group) < values or any(_figures(other) != first for other in group[1:]):
            return None
    return [min(group, key=_foresight) for group in groups.values()]


def _figures(point: Measured) -> dict[str, object]:
    return {key: value for key, value in point.result.items() if key not in _NO_FIGURES}


def _foresight(point: Measured) -> tuple[bool, bool]:
    return figures.foresees(point.result), figures.predicts(point.result)


def under(path: str, above: Iterable[str]) -> bool:
    return any(path == top or path.startswith(f"{top}.") for top in above)


def fastest(points: Iterable[Measured]) -> Measured:
    return min(points, key=time_of)


def time_of(point: Measured) -> float:
    time = point.time
    assert time is not None, "points of a Swept have one"
    return time


def difference(point: Measured, base: Measured) -> Difference:
    return Difference(point, base, time_of(point) / time_of(base) - 1)


@dataclass(frozen=True)
class Ranking:
    """Policies, the best first, and how the first did."""

    order: list[Labels]
    tied: list[Labels]  # others that take as long as the first, on average
    split: bool  # whether requests bear out that the first is faster here, the second there
    wins: int  # conditions in which the first was faster than all others
    contested: int  # those in which it ran, and another too
    over_next: list[Difference]  # of the first to the second, by condition
    over_none: list[Difference]  # to the same without prediction


def ranking(swept: Swept) -> Ranking | None:
    """Rank the policies that an engine can have; None where there are no two of them to compare.

    The best beats most others, each under the conditions that both were run in, by the geometric
    mean of their times.
    """
    if swept.bounds_alone:
        return None
    table: dict[Labels, dict[Labels, Measured]] = {}
    for point in swept.feasible:
        table.setdefault(swept.policy(point), {})[swept.condition(point)] = point
    times = {policy: _times(row) for policy, row in table.items()}
    order = _ordered(times)
    if len(order) < 2:
        return None
    first, second = table[order[0]], table[order[1]]
    rivals = {c: [row[c] for row in table.values() if c in row and row is not first] for c in first}
    contested = [c for c, points in rivals.items() if points]
    bases = ((point, swept.without(point)) for point in first.values())
    over_next = [difference(first[c], second[c]) for c in first if c in second]
    return Ranking(
        order,
        split={True, False} <= {one.faster for one in over_next},
        tied=[policy for policy in order[1:] if _alike(times[order[0]], times[policy])],
        wins=sum(time_of(first[c]) < min(map(time_of, rivals[c])) for c in contested),
        contested=len(contested),
        over_next=over_next,
        over_none=[difference(point, base) for point, base in bases if base is not None],
    )


def _times(row: Mapping[Labels, Measured]) -> dict[Labels, float]:
    return {condition: time_of(point) for condition, point in row.items()}


def _ordered(times: Mapping[Labels, Mapping[Labels, float]]) -> list[Labels]:
    """Policies that share a condition with another."""
    score: dict[Labels, tuple[int, float]] = {}
    for policy, mine in times.items():
        others = (its for other, its in times.items() if other != policy)
        apart = [log for its in others if (log := _apart(mine, its)) is not None]
        if apart:
            score[policy] = -sum(log < 0 for log in apart), fmean(apart)
    return sorted(score, key=lambda policy: score[policy])


def _apart(mine: Mapping[Labels, float], its: Mapping[Labels, float]) -> float | None:
    """The mean log of how many times the other's time is taken; None without shared conditions."""
    shared = [c for c in mine if c in its]
    return fmean(math.log(mine[c] / its[c]) for c in shared) if shared else None


def _alike(mine: Mapping[Labels, float], its: Mapping[Labels, float]) -> bool:
    log = _apart(mine, its)
    return log is not None and abs(math.expm1(log)) < NOTICED


def prefetching(swept: Swept) -> tuple[list[Difference], list[Difference]]:
    """Each point that predicts, to the same without: those that count, and those left out.

    What sees the future is left out; where nothing else predicts, perfect oracles count.
    """
    pairs = [(p, base) for p in swept.points if (base := swept.without(p)) is not None]
    real = [not figures.foresees(point.result) for point, _ in pairs]
    perfect = [figures.recall(point.result) in (None, 1.0) for point, _ in pairs]
    counted = real if any(real) else perfect
    found: tuple[list[Difference], list[Difference]] = ([], [])
    for pair, counts in zip(pairs, counted):
        found[not counts].append(difference(*pair))
    return found


def shown(swept: Swept, most: int) -> list[Measured]:
    """The points to show where there is no room for all: the best of each condition.

    With the best that sees the future, if there is room for all of these. Of more conditions than
    ``most``, the fastest; of a single one, its fastest points.
    """
    best = [fastest(group) for group in swept.by_condition(swept.feasible).values()]
    if len(best) < 2:
        return sorted(swept.points, key=time_of)[:most]
    bounds = [fastest(group) for group in swept.by_condition(swept.points).values()]
    both = {id(point) for point in (*best, *bounds)}
    kept = both if len(both) <= most else set(map(id, sorted(best, key=time_of)[:most]))
    return [point for point in swept.points if id(point) in kept]


def best_by(swept: Swept, axes: Sequence[str]) -> dict[Labels, Measured]:
    """The fastest point that an engine could be, for each value of ``axes``."""
    groups: dict[Labels, list[Measured]] = {}
    for point in swept.feasible:
        groups.setdefault(tuple(point.axes[path] for path in axes), []).append(point)
    return {labels: fastest(group) for labels, group in groups.items()}
