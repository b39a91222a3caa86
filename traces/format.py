"""Traces on disk: Parquet, one file or a folder of part files, one row a token.

Columns: ``request_id``, ``position``, ``phase``, ``token_id`` and ``document`` (optional),
``experts`` [L][k] (null where a layer did not route), ``weights`` [L][k] (optional), and for each
recorded predictor ``prediction.NAME.experts`` and ``prediction.NAME.scores`` [L][m]. The file
metadata holds one JSON object under the key ``prefetch_sim``: schema_version, model, recorded,
predictions. Readers that know nothing of this open it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prefetch_sim.traces.columns import expert_type, phase_array, to_nested
from prefetch_sim.traces.errors import did_you_mean
from prefetch_sim.traces.files import replacing
from prefetch_sim.traces.parts import META_KEY, Part, open_parts
from prefetch_sim.traces.trace import (
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
from prefetch_sim.traces.validate import validate as validate_trace

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
    check_predictions(trace)
    model = trace.model
    routed = trace.experts[:, :, 0] >= 0
    columns: dict[str, Any] = {
        "request_id": pa.array(trace.request_id, pa.int32()),
        "position": pa.array(trace.position, pa.int32()),
        "phase": phase_array(trace.phase),
    }
    if trace.token_id is not None:
        columns["token_id"] = pa.array(trace.token_id, pa.int32())
    if trace.document is not None:
        columns["document"] = pa.array(trace.document, pa.int64())
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


def check_predictions(trace: Trace) -> None:
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
        document=np.empty(rows, np.int64) if "document" in head.columns else None,
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
            use_dictionary=["request_id", "phase", "token_id", "document", *others],
            write_page_checksum=True,
            column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
        )
