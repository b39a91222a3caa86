"""Cuts through a sweep's results by dimension, which never mix points unseen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from prefetch_sim.experiments.plots import table
from prefetch_sim.experiments.plots.dimensions import (
    ALWAYS,
    all_static,
    apart,
    constants,
    missing,
    of_predictors,
    parameters,
    spelled,
    told,
)
from prefetch_sim.experiments.plots.measures import TPOT
from prefetch_sim.experiments.plots.words import title_of
from prefetch_sim.experiments.sweeps.export import NOT_RUN
from prefetch_sim.experiments.sweeps.sound import check_numbers, damaged, is_measure
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Cut:
    """Some of a sweep's points. ``fixed`` says, by dimension, at what the rest was held."""

    frame: pd.DataFrame
    dimensions: tuple[str, ...]
    fixed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what else a figure must tell

    @property
    def others(self) -> list[str]:
        """Dimensions that are swept beside those every figure tells."""
        return [d for d in self.dimensions if d not in ALWAYS]

    @property
    def swept(self) -> list[str]:
        return [d for d in self.dimensions if self.varies(d)]

    def where(self, chosen: pd.Series[bool]) -> Cut:
        return replace(self, frame=self.frame[chosen])

    def noted(self, *notes: str) -> Cut:
        return replace(self, notes=(*self.notes, *notes))

    def values(self, dimension: str) -> list[Any]:
        """The values that occur, numbers by size and names in the sweep's order.

        No recall is no value.
        """
        found = list(self.frame[dimension].dropna().unique())
        numbers = _numbers(found)
        # Sorted where all are numbers, but for what the machine or the runtime decides.
        return sorted(found, key=lambda v: numbers.get(v, float("-inf"))) if numbers else found

    def shown(self, dimension: str | None) -> list[Any]:
        """The values of a dimension that a figure shows; one that is none for none."""
        return [None] if dimension is None else self.values(dimension)

    def only(self, dimension: str | None, value: Any) -> Cut:
        """The points at one ``value``, which the figure shows and need not tell."""
        return self if dimension is None else self.where(self.frame[dimension] == value)

    def numbers(self, dimension: str) -> dict[Any, float]:
        """The values of a dimension that were given, as numbers; nothing where one is not."""
        return _numbers(self.frame[dimension].dropna().unique())

    def varies(self, dimension: str) -> bool:
        return self.frame[dimension].nunique() > 1

    def sampled(self, dimension: str) -> Cut:
        """Only the points of those conditions under which ``dimension`` was varied."""
        rest = [d for d in self.dimensions if d != dimension]
        counts = self.frame.groupby(rest, dropna=False)[dimension].transform("nunique")
        return self.where(counts > 1)

    def held(self, free: Iterable[str]) -> Cut:
        """Every dimension but ``free`` held at one value: the one that leaves most points.

        Between equals, the first of the sweep; recall, which only oracles have, at its highest.
        """
        cut, free = self, tuple(free)
        for dimension in self.dimensions:
            if dimension in free:
                continue
            column = cut.frame[dimension]
            values = list(column.dropna().unique())
            if not values:
                continue
            if dimension == "recall":
                cut = cut.at(dimension, max(values), len(values))
            else:
                value = max(values, key=lambda v: int((column == v).sum()))
                cut = cut.at(dimension, value, len(values))
        return cut

    def at(self, dimension: str, value: Any, of: int) -> Cut:
        """The points with one ``value`` of a dimension, ``of`` so many; a figure tells it.

        Predictors without such a parameter are kept at any.
        """
        column = self.frame[dimension]
        kept = column == value
        cut = self.where(kept | column.isna() if of_predictors(dimension) else kept)
        # A figure can be read alone, so that what did not vary is told; only that an oracle is
        # not degraded goes without saying, and an eviction where nothing can leave.
        unsaid = (dimension, value) == ("recall", 1) or (
            dimension == "cache.eviction" and all_static(cut.frame)
        )
        if of > 1 or (dimension not in self.fixed and not unsaid):
            note = title_of(dimension, value) + (f" (1 of {of} swept)" if of > 1 else "")
            cut = replace(cut, fixed={**cut.fixed, dimension: note})
        return cut

    def told(self, counts: Mapping[str, int]) -> Cut:
        """What has one value left is told, of as many as ``counts`` says were swept."""
        cut = self
        for dimension in self.dimensions:
            values = cut.values(dimension)
            if len(values) == 1 and dimension not in cut.fixed:
                cut = cut.at(dimension, values[0], counts[dimension])
        return cut

    def with_recall_in_names(self) -> Cut:
        """An oracle of each recall is a predictor of its own, where one has several."""
        frame = self.frame.copy()
        several = frame.groupby("predictor")["recall"].transform("nunique") > 1
        names = [
            f"{name}, recall {recall:g}" if more else name
            for name, recall, more in zip(frame["predictor"], frame["recall"], several)
        ]
        frame["predictor"] = names
        frame.loc[several, "recall"] = float("nan")
        return replace(self, frame=frame)

    def with_parameters(self, names: Iterable[str]) -> Cut:
        """Each of ``names`` that is a parameter of predictors is a dimension, as recall is."""
        wanted = [spelled(name) for name in names]
        known = [path for path in parameters(self.frame) if path not in self.dimensions]
        last = {d.rpartition(".")[2] for d in self.dimensions}
        found = [p for p in known if p in wanted or ({p.rpartition(".")[2]} - last) & {*wanted}]
        if not found:
            return self
        more = [d for d in self.dimensions if of_predictors(d) and d != "recall"]
        frame = apart(self.frame, [*more, *found])
        return replace(self, frame=frame, dimensions=(*self.dimensions, *found))

    def named(self, name: str, option: str) -> str:
        """The dimension that a user calls ``name``: its path, or the last part of one.

        Raises ConfigError with what there is.
        """
        name = spelled(name)
        if name in self.dimensions:
            return name
        last = [d for d in self.dimensions if d.rpartition(".")[2] == name]
        if len(last) == 1:
            return last[0]
        near = did_you_mean(name, [*self.dimensions, *parameters(self.frame)])
        near = near if near.startswith("; did") else ""
        what = "several axes end so" if last else "no axis of this sweep"
        raise ConfigError(f"{option} {name!r}: {what}{near}; {self.told_axes()}")

    def having(self, measure: str, values: pd.Series[float]) -> Cut:
        """The points that have a value of ``measure``. Raises ConfigError where none has."""
        if values.notna().any():
            return self.where(values.notna())
        of_tokens = measure.startswith(("tpot_ms", "decode_tokens"))
        why = ": no request has output tokens" if of_tokens else ""
        raise ConfigError(f"{measure}: no point has one{why}")

    def told_axes(self, dimensions: Sequence[str] | None = None) -> str:
        """The swept axes, or some ``dimensions``, each with how many values it has."""
        swept = self.swept if dimensions is None else dimensions
        return "swept: " + (
            ", ".join(f"{d} ({len(self.values(d))} values)" for d in swept) or "nothing"
        )


def read(source: table.Source) -> Cut:
    """The finished points of a sweep: its folder, a file of its results, or their DataFrame.

    Raises ConfigError where there are none.
    """
    frame, name = table.table_of(source)
    try:
        return _cut(frame, name)
    except ConfigError:
        raise
    except Exception as error:  # whatever a table raises that is no sweep's
        raise damaged(name, error) from error


def _cut(frame: pd.DataFrame, name: str) -> Cut:
    if "config.predictor" not in frame:
        raise ConfigError(f"{name}: not the results of a sweep; of a trace: plot --trace {name}")
    planned, notes = len(frame), []
    if "error" in frame:
        errors = frame["error"].dropna()
        frame = frame[frame["error"].isna()]
        waiting = int((errors == NOT_RUN).sum())
        for count, what in ((waiting, NOT_RUN), (len(errors) - waiting, "failed")):
            if count:
                notes.append(f"{count} of {planned} points {what}")
    if not {TPOT, "total_ms"} <= {*frame} or frame["total_ms"].isna().all():
        raise ConfigError(f"{name}: no point of this sweep has a result")
    frame, dimensions, along = told(_checked(frame, name))
    notes = [*constants(frame), *along, *notes]
    return Cut(_told_apart(frame, list(dimensions)), dimensions, notes=tuple(notes))


def _checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """``frame``, whose measures are numbers that a run can have. Raises ConfigError."""
    measures = [str(column) for column in frame if is_measure(str(column))]
    for column in measures:
        if pd.api.types.is_numeric_dtype(frame[column]):
            check_numbers(name, column, frame[column].dropna().tolist())
    # What no point has comes as a column of None, which is of no type.
    return frame.astype({c: float for c in measures if frame[c].isna().all()})


def _told_apart(frame: pd.DataFrame, dimensions: list[str]) -> pd.DataFrame:
    """One row for each place in the ``dimensions``. Raises ConfigError where two rows differ."""
    # The same capacity written in two ways, say: the same run.
    frame = frame.drop_duplicates([*dimensions, "cache.bytes", "total_ms"], ignore_index=True)
    same = frame[frame.duplicated(dimensions, keep=False)]
    if len(same):
        one, other = same.sort_values(dimensions)["name"].iloc[:2]
        raise ConfigError(f"figures cannot tell these points apart: {one!r} and {other!r}")
    return frame


def _numbers(values: Iterable[Any]) -> dict[Any, float]:
    try:
        return {v: float(v) for v in values if not missing(v) and v != "none"}
    except (TypeError, ValueError):
        return {}
