"""Which axis of a sweep a figure has where: along x, as colour, as columns and rows of panels.

No swept axis is dropped: what finds no place is refused, with what to give to hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefetch_sim.experiments.plots.dimensions import of_predictors
from prefetch_sim.experiments.plots.frame import Cut
from prefetch_sim.experiments.plots.measures import Measure, measure
from prefetch_sim.experiments.plots.words import plain_words, value_words
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean

KINDS = ("lines", "heat")
MOST = {"second": 7, "columns": 4, "rows": 5}  # values of an axis that a place has room for
WRAPPED = 6  # panels of one axis alone, which go on in a second row

Where = Mapping[str, Any] | Iterable[str]


@dataclass(frozen=True)
class Arranged:
    """Points, and the axes that they are shown by; each place in them has one point.

    ``second`` is the colour of lines, or up the side of a heat map.
    """

    cut: Cut
    measure: Measure
    kind: str
    x: str
    second: str | None
    columns: str | None
    rows: str | None
    without: Cut | None  # the same without prefetch, where a predictor's parameter is an axis

    @property
    def numeric(self) -> bool:
        """Whether x is an axis of numbers."""
        return bool(self.cut.numbers(self.x))


def chosen(cut: Cut, where: Where) -> tuple[Cut, list[str]]:
    """The points at the values of ``where``, and the axes it names.

    ``where``: axis → value or values, or texts ``axis=value``; one axis twice is either value.
    Raises ConfigError for an axis or a value that the sweep does not have.
    """
    wanted: dict[str, list[Any]] = {}
    where = where if isinstance(where, str | Mapping) else list(where)
    cut = cut.with_parameters(name for name, _ in _pairs(where))
    for name, values in _pairs(where):
        wanted.setdefault(cut.named(name, "--where"), []).extend(values)
    for dimension, values in wanted.items():
        of = cut.values(dimension)
        found = [_value(cut, dimension, value) for value in values]
        if len(found) == 1:
            cut = cut.at(dimension, found[0], len(of))
        else:
            column = cut.frame[dimension]
            kept = column.isin(found)
            cut = cut.where(kept | column.isna() if of_predictors(dimension) else kept)
        if not len(cut.frame):
            raise ConfigError(f"--where: no point of the sweep has all of {_told(wanted)}")
    return cut, list(wanted)


def _pairs(where: Where) -> Iterable[tuple[str, list[Any]]]:
    if isinstance(where, Mapping):
        for name, value in where.items():
            yield name, list(value) if isinstance(value, list | tuple) else [value]
        return
    for text in [where] if isinstance(where, str) else where:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--where {text!r}: write PATH=VALUE")
        yield name, [value]


def _value(cut: Cut, dimension: str, given: Any) -> Any:
    """The value of a dimension that was meant: 20% and 20 are a capacity of 20 %."""
    values = cut.values(dimension)
    text = str(given).strip().lower()
    for value in values:
        if text in (str(value).lower(), plain_words(dimension, value).strip().lower()):
            return value
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = None
    for value, known in cut.numbers(dimension).items():
        if number is not None and abs(known - number) <= 1e-9 * max(1.0, abs(number)):
            return value
    words = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    near = did_you_mean(str(given), words)
    near = near if near.startswith("; did") else ""
    raise ConfigError(f"--where {dimension}={given}: not swept{near}; values: {', '.join(words)}")


def _told(wanted: Mapping[str, Sequence[Any]]) -> str:
    return ", ".join(f"{name}={'|'.join(map(str, values))}" for name, values in wanted.items())


def arrange(
    cut: Cut, x: str | None, y: str, by: Sequence[str], where: Where, kind: str | None
) -> Arranged:
    """Give each swept axis its place. Raises ConfigError where that cannot be."""
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"--kind {kind!r} is none{did_you_mean(kind, KINDS)}")
    if x is None:
        raise ConfigError(f"--x: which axis goes along x? {cut.told_axes()}")
    where = where if isinstance(where, str | Mapping) else list(where)
    cut = cut.with_parameters([x, *by, *(name for name, _ in _pairs(where))])
    whole, counts = len(cut.frame), {d: len(cut.values(d)) for d in cut.dimensions}
    of = measure(cut.frame, y)
    cut, held = chosen(cut, where)
    along = cut.named(x, "--x")
    named = [cut.named(name, "--by") for name in by]
    used = [along, *named]
    if len(set(used)) < len(used):
        raise ConfigError(f"--x and --by: {max(used, key=used.count)} is given twice")
    if "recall" not in (*used, *held):
        cut = cut.with_recall_in_names()
        counts["recall"] = len(cut.values("recall"))
    cut = cut.having(of.name, of.of(cut.frame))
    everything = cut
    for axis in (along, *(named[:1] if kind == "heat" else ())):
        cut = _varied(cut, axis, "--x" if axis == along else "--by")
    left = sorted((d for d in cut.swept if d not in used), key=_eagerness)
    if kind is None:
        first = [d for d in named[:1] if len(cut.numbers(d)) > MOST["second"]]
        kind = "heat" if first and cut.numbers(along) else "lines"
    if kind == "heat" and not named:
        numbers = [d for d in left if cut.numbers(d)]
        if not numbers:
            raise ConfigError(f"--kind heat: needs a second axis, with --by; {cut.told_axes()}")
        named = numbers[:1]
        left.remove(named[0])
        cut = _varied(cut, named[0], "--by")
    places = _placed(cut, [*named, *left], kind)
    shown = [along, places[0] if kind == "heat" else None]
    compared = any(of_predictors(axis) for axis in shown if axis)
    if compared and "none" in everything.values("predictor"):
        counts["predictor"] -= 1  # which is shown too, as what oracles are compared to
    fixed = cut.told(counts)
    if len(fixed.frame) < whole:
        fixed = fixed.noted(f"{len(fixed.frame)} of the sweep's {whole} points")
    return Arranged(fixed, of, kind, along, *places, without=everything if compared else None)


def _eagerness(dimension: str) -> int:
    """Where an axis stands among those that take the places left, the first one colour."""
    last = ("cache.capacity", "hardware", "trace", "model")
    if dimension in last:
        return 3 + last.index(dimension)
    return {"predictor": 0, "cache.eviction": 1}.get(dimension, 2)


def _varied(cut: Cut, axis: str, option: str) -> Cut:
    """The points of conditions under which ``axis`` was varied; told, if others are left out."""
    values = cut.values(axis)
    if len(values) < 2:
        one = f"one value, {value_words(axis, values[0])}," if values else "no value"
        raise ConfigError(f"{option} {axis}: has {one} here; {cut.told_axes()}")
    if cut.numbers(axis):
        cut = cut.where(cut.frame[axis] != "none")  # what the machine has is no number here
    kept = cut.sampled(axis)
    if not len(kept.frame):
        others = [d for d in cut.swept if d != axis]
        raise ConfigError(
            f"{option} {axis}: never varies with all else alike; {cut.told_axes(others)}"
        )
    return kept


def _placed(cut: Cut, axes: Sequence[str], kind: str) -> tuple[str | None, str | None, str | None]:
    """(second, columns, rows) of these ``axes``, as far as there is room."""
    over = list(axes[3:])
    if over:
        raise ConfigError(
            f"plot: a figure has room for three axes beside x, and {', '.join(axes)} vary; "
            f"hold {len(over)} of them: {_holds(cut, axes)}"
        )
    second, columns, rows = (*axes, None, None, None)[:3]
    most = MOST["second"] + ("none" in cut.values(second) if second else 0)
    if second and kind == "lines" and len(cut.values(second)) > most:
        raise _crowded(cut, second, most, "as lines")
    if columns and rows and len(cut.values(columns)) > MOST["columns"] >= len(cut.values(rows)):
        columns, rows = rows, columns
    limit = MOST["columns"] if rows else WRAPPED
    for axis, most in ((columns, limit), (rows, MOST["rows"])):
        if axis and len(cut.values(axis)) > most:
            raise _crowded(cut, axis, most, "as panels")
    return second, columns, rows


def _crowded(cut: Cut, axis: str, most: int, shown: str) -> ConfigError:
    return ConfigError(
        f"plot: {axis} has {len(cut.values(axis))} values, and {most} can be told apart {shown}; "
        f"choose some: {_holds(cut, [axis])}"
    )


def _holds(cut: Cut, axes: Sequence[str]) -> str:
    """What to give to hold each of these axes, with values that there are."""
    given = []
    for axis in axes:
        values = [f"{v:g}" if isinstance(v, float) else str(v) for v in cut.values(axis)]
        given.append(f"--where '{axis}={values[0]}' ({len(values)} values)")
    return ", ".join(given)
