"""A sweep's results as tables: Parquet, CSV and, for people, text.

One row a point, also of one that has not run: its ``error`` says so. Columns are dotted paths:
``axis.PATH`` (the label of a swept value), ``config.PATH``, ``model`` (its name, also where the
config leaves it to the trace), ``cache.bytes`` and ``cache.share`` (the capacity resolved),
``policy_files`` (digests of policies in files), then the results as ``run --json`` names them
(``tpot_ms.mean``).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from prefetch_sim.experiments.output import grid
from prefetch_sim.experiments.sweeps.points import Point
from prefetch_sim.experiments.sweeps.store import Outcome, Store
from prefetch_sim.experiments.text import last_parts, number, percent
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.traces.files import replacing

Row = dict[str, Any]

_NUMBERS = 60  # columns of text that the measures of the table take
EXPORTS = ("results.parquet", "results.csv")
CONCLUSION = "conclusion.md"
FILES = "policy_files"  # a column: digests of policies in files, by whole path, as JSON
NOT_RUN = "not run yet"  # the `error` of a point that a stopped sweep has no result of


def write(folder: Path, plan: Sequence[Point], store: Store, unfinished: bool = False) -> list[Row]:
    """Write ``results.parquet`` and ``results.csv``; returns their rows, in the sweep's order.

    Raises ConfigError where a point has no outcome, unless the sweep is ``unfinished``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    outcomes = store.get(point.key for point in plan)
    if not unfinished and not outcomes.keys() >= {point.key for point in plan}:
        raise ConfigError(f"{folder}: results of this sweep are gone or damaged; run it again")
    not_run = Outcome(None, NOT_RUN, 0.0)
    rows = [_row(point, outcomes.get(point.key, not_run)) for point in plan]
    names = _columns(rows)
    table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    parquet, as_csv = (folder / name for name in EXPORTS)
    with replacing(parquet) as whole:
        pq.write_table(table, whole, write_page_checksum=True)
        with replacing(as_csv) as text, text.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return rows


def table(
    plan: Sequence[Point], rows: Sequence[Row], width: int, shown: Sequence[Row] | None = None
) -> Table:
    """What matters most of each point, or of those ``shown``, for a terminal of ``width`` columns.

    A column an axis that varies; or one for all, if so many would break their words in pieces.
    """
    axes = [path for path in plan[0].axes if len({point.axes[path] for point in plan}) > 1]
    some = rows if shown is None else shown
    measures = ("tokens/s", "TPOT ms", "p95 ms", "hit rate", "stall", "regret")
    headings = last_parts(axes)
    labels = [[row[f"axis.{path}"] for path in axes] for row in some]
    side_by_side = sum(max(map(len, column)) + 2 for column in zip(headings, *labels))
    if side_by_side > width - _NUMBERS:
        headings = [", ".join(headings)]
        labels = [[", ".join(texts)] for texts in labels]
    drawn = grid(*headings, *measures, right=len(measures))
    for row, texts in zip(some, labels):
        total = row.get("total_ms")
        stalls = [value for name, value in row.items() if name.startswith("stall_ms.")]
        stall, regret = (sum(stalls), row["regret_ms"]) if total else (None, None)
        drawn.add_row(
            *texts,
            number(row.get("decode_tokens_per_s")),
            number(row.get("tpot_ms.mean")),
            number(row.get("tpot_ms.p95")),
            percent(row.get("hit_rate.all")),
            percent(stall / total if total and stall is not None else None),
            percent(regret / total if total and regret is not None else None),
        )
    same = [f"{path} {text}" for path, text in plan[0].axes.items() if path not in axes]
    drawn.title = "in all points: " + ", ".join(same) if same else None
    drawn.caption = (
        "tokens/s: of decode; hit rate: prefill too; stall, regret: share of the run's time"
    )
    drawn.caption_justify = "left"
    return drawn


def _row(point: Point, outcome: Outcome) -> Row:
    config = point.config.model_dump(mode="json")
    static = config["cache"].pop("static")
    found = {key: value for key, value in (outcome.result or {}).items() if key != "config"}
    return {
        **_flat(found, ""),
        "name": point.config.name,
        **{f"axis.{path}": text for path, text in point.axes.items()},
        **_flat(config, "config."),
        "config.predictor": json.dumps(config["predictor"]),
        "config.cache.static": static and json.dumps(_given(static)),
        "model": point.model,
        "cache.bytes": point.cache_bytes,
        "cache.share": point.cache_bytes / point.model_bytes,
        **({FILES: json.dumps(point.files)} if point.files else {}),
        "error": outcome.error,
    }


def _given(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _given(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None
    }


def _flat(tree: dict[str, Any], prefix: str) -> Row:
    flat: Row = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _columns(rows: Sequence[Row]) -> list[str]:
    """Every column of any row: axes first, then capacities and results, then the config."""
    names = dict.fromkeys(name for row in rows for name in row)

    def group(name: str) -> int:
        if name == "name":
            return 0
        return 1 if name.startswith("axis.") else 3 if name.startswith("config.") else 2

    return sorted(names, key=group)


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value
