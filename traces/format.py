"""Traces on disk: Parquet, one file or a folder of part files, one row a token.

Columns: ``request_id``, ``position``, ``phase``, ``token_id`` (optional), ``experts`` [L][k]
(null where a layer did not route), ``weights`` [L][k] (optional), and for each recorded
predictor ``prediction.NAME.experts`` and ``prediction.NAME.scores`` [L][m]. The file metadata
holds one JSON object under the key ``prefetch_sim``: schema_version, model, recorded,
predictions. Readers that know nothing of this open it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from traces.columns import expert_type, phase_array, to_nested
from traces.errors import did_you_mean
from traces.files import replacing
from traces.parts import META_KEY, Part, open_parts, part_paths
from traces.trace import (
    DECODE,
    PHASES,
    PREFILL,
    SCHEMA_VERSION,
    Array,
    Prediction,
    PredictionInfo,
    Trace,
    TraceError,
    TraceMeta,
    request_bounds,
)
from traces.validate import validate as validate_trace

__all__ = [
    "DECODE",
    "PHASES",
    "PREFILL",
    "SCHEMA_VERSION",
    "Prediction",
    "PredictionInfo",
    "Trace",
    "TraceError",
    "TraceMeta",
    "TraceWriter",
    "read_meta",
    "read_trace",
    "write_trace",
]

ROW_GROUP = 16_384  # rows: what a reader of a few requests has to read at least


def read_meta(path: str | Path) -> TraceMeta:
    """Metadata of a trace file or folder, without reading a row of it."""
    return open_parts(Path(path))[0].meta


def read_trace(
    path: str | Path,
    *,
    requests: slice | None = None,
    predictions: Iterable[str] | None = None,
    weights: bool = True,
    validate: bool = True,
) -> Trace:
    """Read a trace file or a folder of parts.

    ``requests`` picks requests by their order in the trace (only their row groups are read);
    ``predictions`` names the recorded predictors wanted, None for all of them. Raises TraceError,
    whose one line names the file and, for a broken rule, row (counted within that file) and layer.
    """
    path = Path(path)
    parts = open_parts(path)
    meta = parts[0].meta
    names = list(meta.predictions) if predictions is None else list(predictions)
    for name in names:
        if name not in meta.predictions:
            near = did_you_mean(name, meta.predictions)
            raise TraceError(f"{path}: no recorded prediction {name!r}{near}")
    ids = np.concatenate([part.read_ids() for part in parts])
    first, last = _select(path, ids, requests)
    trace = _allocate(path, parts, ids[first:last], names, weights)
    starts = np.cumsum([0] + [part.rows for part in parts])
    for part, start in zip(parts, starts.tolist()):
        begin, end = max(first, start), min(last, start + part.rows)
        if begin < end:
            part.fill(trace, begin - start, end - start, begin - first)
    if validate:

        def locate(row: int) -> tuple[Path, int]:
            index = int(np.searchsorted(starts, first + row, side="right")) - 1
            return parts[index].path, first + row - int(starts[index])

        validate_trace(trace, locate)
    return trace


def write_trace(path: str | Path, trace: Trace) -> None:
    """Validate ``trace`` and write it as one file, which appears only when it is complete."""
    path = Path(path)
    validate_trace(trace)
    _check_predictions(trace)
    model = trace.model
    routed = trace.experts[:, :, 0] >= 0
    columns: dict[str, Any] = {
        "request_id": pa.array(trace.request_id, pa.int32()),
        "position": pa.array(trace.position, pa.int32()),
        "phase": phase_array(trace.phase),
    }
    if trace.token_id is not None:
        columns["token_id"] = pa.array(trace.token_id, pa.int32())
    columns["experts"] = to_nested(trace.experts, routed, expert_type(model.experts))
    if trace.weights is not None:
        columns["weights"] = to_nested(trace.weights, routed, pa.float16())
    for name, prediction in trace.predictions.items():
        spoke = prediction.experts[:, :, 0] >= 0
        ids = to_nested(prediction.experts, spoke, expert_type(model.experts))
        item = pa.from_numpy_dtype(prediction.scores.dtype)
        columns[f"prediction.{name}.experts"] = ids
        columns[f"prediction.{name}.scores"] = to_nested(prediction.scores, spoke, item)
    content = {"schema_version": SCHEMA_VERSION, **trace.meta.model_dump(mode="json")}
    fields = [pa.field(name, array.type, nullable=False) for name, array in columns.items()]
    schema = pa.schema(fields, metadata={META_KEY: json.dumps(content, sort_keys=True).encode()})
    _write(path, pa.Table.from_arrays(list(columns.values()), schema=schema))


class Row(NamedTuple):
    """Where a row stands in its trace."""

    request_id: int
    position: int
    phase: int


class TraceWriter:
    """Writes a trace into a folder, part by part, while it is being captured.

    Rows are gathered until there are ``part_rows`` of them, then written at once: a crash loses
    the part in hand, and the parts written so far are a trace. A folder that already has parts
    is continued, if its metadata is the same, after the row ``last``. Use it as a context manager,
    or call ``close``.
    """

    def __init__(self, folder: str | Path, meta: TraceMeta, part_rows: int = 4096) -> None:
        self.folder, self.meta, self.part_rows = Path(folder), meta, part_rows
        self.last: Row | None = None
        self._requests: set[int] = set()
        self._columns: dict[str, Any] | None = None  # optional ones, the same in every part
        self._pending: list[Trace] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        self._next = len(part_paths(self.folder))
        if self._next:
            self._resume()

    def _resume(self) -> None:
        parts = open_parts(self.folder)
        if parts[0].meta != self.meta:
            raise TraceError(f"{self.folder}: holds parts of a trace with other metadata")
        ids = np.concatenate([part.read_ids() for part in parts])
        count = len(request_bounds(ids)) - 1
        final = read_trace(self.folder, requests=slice(count - 1, count))
        self._columns = _optional_columns(final)
        self._requests = set(np.unique(ids).tolist())
        self.last = _row(final, -1)

    def append(self, batch: Trace) -> None:
        """Add the rows of ``batch``; only its columns count, the metadata is the writer's.

        A batch may go on with the last request or begin others. Raises TraceError for one that
        cannot follow, which leaves what has been gathered as it was.
        """
        batch = replace(batch, path=self.folder, meta=self.meta)
        _check_predictions(batch)
        validate_trace(batch)
        columns = _optional_columns(batch)
        if self._columns is not None and columns != self._columns:
            name = next(n for n in columns if columns[n] != self._columns[n])
            raise TraceError(f"{self.folder}: column {name} is not like that of earlier batches")
        self._check_continuity(batch)
        self._columns, self.last = columns, _row(batch, -1)
        self._requests.update(np.unique(batch.request_id).tolist())
        self._pending.append(batch)
        if sum(part.tokens for part in self._pending) >= self.part_rows:
            self.flush()

    def _check_continuity(self, batch: Trace) -> None:
        first, last = _row(batch, 0), self.last
        known = self._requests.intersection(batch.request_id.tolist())
        if last is not None and first.request_id == last.request_id:
            known.discard(last.request_id)
            if first.position != last.position + 1:
                raise TraceError(
                    f"{self.folder}: position {first.position} follows {last.position} "
                    f"of request {last.request_id}"
                )
            if first.phase < last.phase:
                raise TraceError(
                    f"{self.folder}: prefill after decode within request {last.request_id}"
                )
        if known:
            raise TraceError(
                f"{self.folder}: request {min(known)} again: its rows must be contiguous"
            )

    def flush(self) -> None:
        """Write what has been gathered as the next part."""
        if not self._pending:
            return
        path = self.folder / f"part-{self._next:05d}.parquet"
        write_trace(path, _concatenate(path, self._pending))
        self._next += 1
        self._pending = []

    close = flush

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.flush()


def _row(trace: Trace, row: int) -> Row:
    return Row(int(trace.request_id[row]), int(trace.position[row]), int(trace.phase[row]))


def _optional_columns(trace: Trace) -> dict[str, Any]:
    """What may differ between traces of the same metadata: columns there, widths and types."""
    columns: dict[str, Any] = {
        "token_id": trace.token_id is not None,
        "weights": trace.weights is not None,
    }
    for name, prediction in trace.predictions.items():
        columns[f"prediction.{name}"] = (prediction.experts.shape[2], prediction.scores.dtype)
    return columns


def _concatenate(path: Path, batches: list[Trace]) -> Trace:
    """The rows of ``batches``, whose columns are the same, one after the other."""
    first = batches[0]

    def join(name: str) -> Any:
        return np.concatenate([getattr(batch, name) for batch in batches])

    predictions = {
        name: Prediction(
            prediction.info,
            np.concatenate([batch.predictions[name].experts for batch in batches]),
            np.concatenate([batch.predictions[name].scores for batch in batches]),
        )
        for name, prediction in first.predictions.items()
    }
    return Trace(
        path=path,
        meta=first.meta,
        request_id=join("request_id"),
        position=join("position"),
        phase=join("phase"),
        token_id=None if first.token_id is None else join("token_id"),
        experts=join("experts"),
        weights=None if first.weights is None else join("weights"),
        predictions=predictions,
    )


def _check_predictions(trace: Trace) -> None:
    missing = trace.meta.predictions.keys() ^ trace.predictions.keys()
    if missing:
        raise TraceError(
            f"{trace.path or 'trace'}: metadata and columns disagree on prediction {min(missing)!r}"
        )


def _select(path: Path, ids: Array, requests: slice | None) -> tuple[int, int]:
    """Row range of the wanted requests."""
    if requests is None:
        return 0, len(ids)
    bounds = request_bounds(ids)
    count = len(bounds) - 1
    first, last, step = requests.indices(count)
    if step != 1:
        raise TraceError(f"{path}: requests must be a range without step, not step {step}")
    if first >= last:
        wanted = f"{requests.start or 0}:{'' if requests.stop is None else requests.stop}"
        raise TraceError(f"{path}: requests {wanted} picks none of its {count} requests")
    return int(bounds[first]), int(bounds[last])


def _allocate(path: Path, parts: list[Part], ids: Array, names: list[str], weights: bool) -> Trace:
    head, rows = parts[0], len(ids)
    layers, _, top_k = head.meta.model.topology
    has_tokens, has_weights = "token_id" in head.columns, "weights" in head.columns and weights
    for column in ("experts", "weights") if has_weights else ("experts",):
        width, _ = head.shape(column)
        if width != top_k:
            raise TraceError(f"{head.path}: column {column} has top-{width}, the model top-{top_k}")
    predictions = {}
    for name in names:
        named, _ = head.shape(f"prediction.{name}.experts")
        width, item = head.shape(f"prediction.{name}.scores")
        if width != named:
            raise TraceError(f"{head.path}: prediction {name!r}: {named} experts, {width} scores")
        shape = (rows, layers, named)
        predictions[name] = Prediction(
            head.meta.predictions[name], np.empty(shape, np.int16), np.empty(shape, item)
        )
    return Trace(
        path=path,
        meta=head.meta,
        request_id=ids,
        position=np.empty(rows, np.int32),
        phase=np.empty(rows, np.int8),
        token_id=np.empty(rows, np.int32) if has_tokens else None,
        experts=np.empty((rows, layers, top_k), np.int16),
        weights=np.empty((rows, layers, top_k), np.float16) if has_weights else None,
        predictions=predictions,
    )


def _write(path: Path, table: Any) -> None:
    """Ids take a dictionary (few values, bit-packed); floats are split into byte planes."""
    split = [f"{name}.list.element.list.element" for name in table.column_names]
    floats = [
        leaf
        for leaf, name in zip(split, table.column_names)
        if name == "weights" or name.endswith(".scores")
    ]
    others = [leaf for leaf, name in zip(split, table.column_names) if name.endswith("experts")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as whole:
        pq.write_table(
            table,
            whole,
            row_group_size=ROW_GROUP,
            compression="zstd",
            compression_level=6,
            use_dictionary=["request_id", "phase", "token_id", *others],
            column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
        )
