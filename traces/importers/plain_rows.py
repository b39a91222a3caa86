"""The columns of plain CSV as JSON lines or Parquet: one row a token and layer.

``request, position, layer, experts`` and what may stand beside them (``plain_csv.py``). Experts are
a list or a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prefetch_sim.traces.errors import first_line
from prefetch_sim.traces.importers import plain_csv
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import first_keys, read_head, read_json_lines
from prefetch_sim.traces.parts import UNREADABLE, open_parquet
from prefetch_sim.traces.trace import Trace, TraceError

FORMAT = "rows"
_PARQUET = b"PAR1"


def matches(head: bytes, path: Path) -> bool:
    """A first line, or a table, with the columns."""
    return plain_csv.has_columns(columns(head, path))


def columns(head: bytes, path: Path) -> list[str]:
    """Names of a table's columns, or of the keys on a first line, in small letters; else none."""
    if not head.startswith(_PARQUET):
        return sorted(name.lower() for name in first_keys(head))
    try:
        return [name.lower() for name in pq.read_schema(path).names]
    except UNREADABLE:
        return []


def read(path: Path, asked: Asked) -> Trace:
    """Every request of the file, of the model that it does not name."""
    parquet = read_head(path).startswith(_PARQUET)
    sets = RoutedSets(path, asked, "row" if parquet else "line")
    rows = _table(path) if parquet else read_json_lines(path)
    return plain_csv.trace_of(sets, _as_text(sets, rows), FORMAT)


def _table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    file = open_parquet(path)
    known = [name for name in file.schema_arrow.names if plain_csv.is_read(name.lower())]
    row = 0
    try:
        for batch in file.iter_batches(columns=known):
            for content in batch.to_pylist():
                yield row, content
                row += 1
    except UNREADABLE as error:
        raise TraceError(f"{path}: not readable as Parquet: {first_line(error)}") from None


def _as_text(
    sets: RoutedSets, rows: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row as a CSV would have it."""
    for at, row in rows:
        named = {key.lower(): value for key, value in row.items()}
        if not plain_csv.has_columns(named):
            lacking = next(name for name in plain_csv.COLUMNS if name not in named)
            raise sets.wrong(at, f"no {lacking!r}")
        if len(named) < len(row):
            keys = [key.lower() for key in row]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise sets.wrong(at, f"{twice!r} twice")
        yield at, {key: _text(value) for key, value in named.items() if plain_csv.is_read(key)}


def _text(value: Any) -> str:
    if value is None:  # as an empty field of a CSV
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
