"""The part files of a trace: opening them, their metadata, and reading rows out of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from prefetch_sim.traces.columns import (
    ColumnError,
    fill_nested,
    nested_shape,
    read_flat,
    read_phase,
)
from prefetch_sim.traces.errors import describe, did_you_mean, first_line
from prefetch_sim.traces.trace import SCHEMA_VERSION, Array, Trace, TraceError, TraceMeta

META_KEY = b"prefetch_sim"
_MARK = b"PAR1"
# What pyarrow raises for a file that is damaged; ValueError where a name in it is no UTF-8.
UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, MemoryError)
FLOOR, TIMES = 256 << 20, 200  # a file may unpack to so many bytes, or times its own size

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Part:
    path: Path
    file: Any  # pyarrow.parquet.ParquetFile
    meta: TraceMeta

    @property
    def rows(self) -> int:
        return int(self.file.metadata.num_rows)

    @property
    def columns(self) -> dict[str, Any]:
        """Arrow type of each column."""
        schema = self.file.schema_arrow
        return dict(zip(schema.names, schema.types))

    def read_ids(self) -> Array:
        column = self._read(["request_id"], None).column(0).combine_chunks()
        return self._checked("request_id", lambda: read_flat(column, np.int32))

    def shape(self, column: str) -> tuple[int, Any]:
        """Width of a set, and numpy type of an item, of a nested column."""
        self._require(column)
        layers, integers = self.meta.model.moe_layers, column.endswith("experts")
        kind = self.columns[column]
        return self._checked(column, lambda: nested_shape(kind, layers, integers))

    def fill(self, trace: Trace, begin: int, end: int, at: int) -> None:
        """Copy this part's rows ``begin:end`` to ``trace`` from its row ``at`` on."""
        names = ["position", "phase", "experts"]
        names += ["token_id"] if trace.token_id is not None else []
        names += ["document"] if trace.document is not None else []
        names += ["weights"] if trace.weights is not None else []
        for name in trace.predictions:
            names += [f"prediction.{name}.experts", f"prediction.{name}.scores"]
        start = 0
        for group in range(self.file.num_row_groups):
            stop = start + self.file.metadata.row_group(group).num_rows
            low, high = max(begin, start), min(end, stop)
            if low < high:
                table = self._read(names, group).slice(low - start, high - low)
                first = at + low - begin
                self._copy(table, trace, slice(first, first + high - low))
            start = stop

    def _copy(self, table: Any, trace: Trace, rows: slice) -> None:
        def column(name: str) -> Any:
            return table.column(name).combine_chunks()

        def nested(name: str, out: Array, missing: float) -> Array:
            return self._checked(name, lambda: fill_nested(column(name), out[rows], missing))

        def flat(name: str, kind: Any = np.int32) -> Array:
            return self._checked(name, lambda: read_flat(column(name), kind))

        trace.position[rows] = flat("position")
        if trace.token_id is not None:
            trace.token_id[rows] = flat("token_id")
        if trace.document is not None:
            trace.document[rows] = flat("document", np.int64)
        trace.phase[rows] = self._checked("phase", lambda: read_phase(column("phase")))
        routed = nested("experts", trace.experts, -1)
        if trace.weights is not None:
            nested("weights", trace.weights, np.nan)
            trace.weights[rows][~routed] = 0
        for name, prediction in trace.predictions.items():
            spoke = nested(f"prediction.{name}.experts", prediction.experts, -1)
            nested(f"prediction.{name}.scores", prediction.scores, np.nan)
            prediction.scores[rows][~spoke] = 0

    def _read(self, columns: list[str], group: int | None) -> Any:
        for name in columns:
            self._require(name)
        try:
            if group is None:
                return self.file.read(columns=columns)
            return self.file.read_row_group(group, columns=columns)
        except UNREADABLE as error:
            raise TraceError(f"{self.path}: damaged: {first_line(error)}") from None

    def _require(self, column: str) -> None:
        known = self.columns
        if column not in known:
            raise TraceError(f"{self.path}: no column {column!r}{did_you_mean(column, known)}")

    def _checked(self, column: str, work: Callable[[], _Value]) -> _Value:
        try:
            return work()
        except (ColumnError, pa.ArrowException, LookupError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TraceError(f"{self.path}: column {column}: {reason}") from None


def undescribed(path: Path) -> list[str]:
    """Predictors that the trace has columns of, but no metadata: nothing reads those."""
    head = open_parts(path)[0]
    found = (re.fullmatch(r"prediction\.(.+)\.experts", column) for column in head.columns)
    return [one[1] for one in found if one and one[1] not in head.meta.predictions]


def part_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def is_trace(path: Path) -> bool:
    """Whether ``path`` is a file, or a folder of parts, that says it is a trace."""
    try:
        return open_parts(path)[0].shape("experts")[0] > 0
    except TraceError:
        return False


def open_parts(path: Path) -> list[Part]:
    if not path.exists():
        raise TraceError(f"{path}: no such file or folder")
    paths = part_paths(path) if path.is_dir() else [path]
    if not paths and (path / "config.json").is_file():
        raise TraceError(
            f"{path}: a model's folder, not a trace; capture one first: "
            f"prefetch-sim trace capture --model {path} --prompts FILE.jsonl -o OUT"
        )
    if not paths:
        raise TraceError(f"{path}: a folder without part files (part-00000.parquet, ...)")
    for index, part in enumerate(paths if path.is_dir() else []):
        if part.name != f"part-{index:05d}.parquet":
            raise TraceError(f"{path}: part-{index:05d}.parquet is missing before {part.name}")
    parts = [_open(part) for part in paths]
    for opened in parts[1:]:
        if opened.meta != parts[0].meta:
            raise TraceError(f"{opened.path}: its metadata is not that of {parts[0].path.name}")
        if opened.columns != parts[0].columns:
            raise TraceError(f"{opened.path}: its columns are not those of {parts[0].path.name}")
    return parts


def open_parquet(path: Path) -> Any:
    """The ``pyarrow.parquet.ParquetFile`` at ``path``; checksums that its pages have are checked.

    Raises TraceError where it is none, has two columns of one name, or would take far more memory
    than any routing in a file of its size.
    """
    try:
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        names = file.schema_arrow.names
        nbytes = _unpacked(file)
    except UNREADABLE as error:
        reason = first_line(error)
        if path.is_file() and not _MARK.startswith(_start(path)):
            raise TraceError(
                f"{path}: no Parquet file; import it first: "
                f"prefetch-sim trace import {path} --model NAME -o OUT"
            ) from None
        raise TraceError(f"{path}: not a complete Parquet file: {reason}") from None
    most = max(FLOOR, TIMES * path.stat().st_size)
    if nbytes > most:
        raise TraceError(
            f"{path}: unpacks to {nbytes:,} bytes, more than {most:,}, {TIMES} times its size"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise TraceError(f"{path}: column {twice[0]!r} is there twice")
    return file


def _start(path: Path) -> bytes:
    """As many bytes of a file as Parquet's mark has."""
    with path.open("rb") as file:
        return file.read(len(_MARK))


def _open(path: Path) -> Part:
    file = open_parquet(path)
    return Part(path, file, _parse_meta(path, file.schema_arrow.metadata or {}))


def _unpacked(file: Any) -> int:
    """Bytes that all of it takes, about: by its rows, and by what its columns say of themselves.

    A few bytes of a page may stand for any number of equal values.
    """
    about = file.metadata
    if about.num_rows < 0:
        raise ValueError(f"{about.num_rows} rows")
    columns = [
        group.column(i)
        for group in map(about.row_group, range(about.num_row_groups))
        for i in range(group.num_columns)
    ]
    by_rows = about.num_rows * sum(map(_width, file.schema_arrow.types))
    by_columns = (max(4 * c.num_values, c.total_uncompressed_size, 0) for c in columns)
    return int(max(by_rows, sum(by_columns)))


def _width(kind: Any) -> int:
    """Bytes of an item, about."""
    times = 1
    while pa.types.is_fixed_size_list(kind):
        times, kind = times * max(1, kind.list_size), kind.value_type
    return times * 4


def _parse_meta(path: Path, metadata: dict[bytes, bytes]) -> TraceMeta:
    if META_KEY not in metadata:
        raise TraceError(
            f"{path}: no {META_KEY.decode()!r} metadata: not a routing trace; of a trace that "
            f"another tool wrote again, 'prefetch-sim trace import --model NAME' makes one"
        )
    try:
        content = json.loads(metadata[META_KEY])
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: metadata is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise TraceError(f"{path}: metadata is not a JSON object")
    version = content.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise TraceError(f"{path}: schema version {version!r}, this reader knows {SCHEMA_VERSION}")
    try:
        return TraceMeta.model_validate(content)
    except ValidationError as error:
        raise TraceError(f"{path}: metadata: {describe(error, TraceMeta)}") from None
