"""Two points of a finished sweep side by side, or two at each value of the sweep's other axes.

Nothing runs: results are read from ``results.parquet``. Sides are named by labels of axes, as the
sweep's table shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefetch_sim.experiments.comparing.comparison import Comparison, compared
from prefetch_sim.experiments.comparing.sides import meant
from prefetch_sim.experiments.comparing.stored import (
    AXIS,
    CONFIG,
    PREDICTORS,
    Row,
    read_rows,
)
from prefetch_sim.experiments.sweeps.export import NOT_RUN
from prefetch_sim.sim.config.errors import ConfigError

Side = Mapping[str, str]  # labels by axis: which points are meant

_REQUESTS = ("config.trace", "config.requests", "config.tokens", "config.layers")


@dataclass(frozen=True)
class Place:
    """Where two points were compared: the labels of the axes that A and B share."""

    at: dict[str, str]
    comparison: Comparison


def compare_points(folder: Path, a: Side, b: Side) -> list[Place]:
    """Compare points of A with those of B that are alike in all axes that neither names.

    Raises ConfigError, which names ``--a`` or ``--b``, for what the sweep does not have.
    """
    rows, failed = read_rows(folder)
    return compare_rows(rows, str(folder), a, b, failed)


def compare_rows(
    rows: list[Row], source: str, a: Side, b: Side, failed: Sequence[Row] = ()
) -> list[Place]:
    """``compare_points`` of rows as ``results.parquet`` has them; errors name their ``source``."""
    axes = [name.removeprefix(AXIS) for name in rows[0] if name.startswith(AXIS)]
    every = [*rows, *failed]
    sides = [meant(every, axes, o, side, source) for o, side in (("--a", a), ("--b", b))]
    shared = [axis for axis in axes if not any(axis in side for side in sides)]
    in_a, in_b = (
        _by_place(rows, axes, shared, option, side, failed)
        for option, side in zip(("--a", "--b"), sides)
    )
    places = [
        Place(dict(zip(shared, labels)), _compared(in_a[labels], in_b[labels]))
        for labels in in_a
        if labels in in_b
    ]
    if not places:
        raise ConfigError(f"{source}: A and B have no value of {' and '.join(shared)} in common")
    return places


def _by_place(
    rows: list[Row],
    axes: list[str],
    shared: list[str],
    option: str,
    side: Side,
    failed: Sequence[Row],
) -> dict[tuple[str, ...], Row]:
    """The points of one side, by their labels of the ``shared`` axes."""
    rows, failed = (
        [row for row in some if all(row[AXIS + axis] == text for axis, text in side.items())]
        for some in (rows, failed)
    )
    if not rows:
        which = ", ".join(f"{axis}={text}" for axis, text in side.items())
        if not failed:
            raise ConfigError(f"{option} {which}: no point of the sweep has all of these")
        error = failed[0]["error"]
        did = "has no result" if error == NOT_RUN else "failed"
        last = (error.splitlines() or [""])[-1]
        raise ConfigError(f"{option} {which}: that point {did}: {last}")
    found: dict[tuple[str, ...], Row] = {}
    for row in rows:
        place = tuple(row[AXIS + axis] for axis in shared)
        if place in found:
            differ = next(axis for axis in axes if row[AXIS + axis] != found[place][AXIS + axis])
            raise ConfigError(f"{option}: several points; say with {option} {differ}=… which")
        found[place] = row
    return found


def _compared(a: Row, b: Row) -> Comparison:
    for name in dict.fromkeys([*a, *b]):
        if name.startswith(_REQUESTS) and a.get(name) != b.get(name):
            key = name.removeprefix(CONFIG)
            raise ConfigError(
                f"{key}: A has {a.get(name)} and B has {b.get(name)}: only runs of the same "
                "requests can be compared"
            )
    return compared(_results(a), _results(b))


def _results(row: Row) -> Row:
    """As ``run --json`` has them; of the config, the axes by their labels."""
    config = {name.removeprefix(AXIS): text for name, text in row.items() if name.startswith(AXIS)}
    found: Row = {"predictors": {}, "link_busy": {}}
    for name, value in row.items():
        if value is None and name.startswith(("link_busy.", PREDICTORS)):
            continue  # of other points
        if name.startswith(PREDICTORS):  # whose label may have a dot
            label, _, measure = name.removeprefix(PREDICTORS).rpartition(".")
            _put(found, ("predictors", label, measure), value)
        elif not name.startswith((AXIS, CONFIG)):
            _put(found, name.split("."), value)
    for quality in found["predictors"].values():
        quality.setdefault("slot_recall", None)  # of nothing that it could have predicted
    found["config"] = {**config, "batch_size": row["config.batch_size"]}
    return found


def _put(tree: Row, path: Iterable[str], value: Any) -> None:
    *above, last = path
    for key in above:
        tree = tree.setdefault(key, {})
    tree[last] = value
