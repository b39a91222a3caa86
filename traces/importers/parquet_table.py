"""A trace that pandas, polars or duckdb wrote again, or a table made like one: Parquet.

Columns as in a trace (docs/trace-format.md): ``request_id``, ``position``, ``experts`` [layers][k],
and where they are there ``phase`` (else all is decode), ``token_id``, ``document`` and ``weights``.
Requests may have numbers or names, lists may be of any kind that Parquet has. The metadata that
such tools lose says which model it was, which has to be named, and what the predictors are, which
are left out. Rows may have lost their order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prefetch_sim.traces.columns import ColumnError, read_flat, read_lists, read_names, read_phase
from prefetch_sim.traces.errors import first_line
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_array import routed_array
from prefetch_sim.traces.importers.tidy import NUMBERED, UNPHASED, noted, take
from prefetch_sim.traces.parts import UNREADABLE, open_parquet
from prefetch_sim.traces.trace import DECODE, Array, Trace, TraceError, TraceMeta

FORMAT = "parquet"
_NEEDED = ("request_id", "position", "experts")
_FLAT = {"position": np.int32, "token_id": np.int32, "document": np.int64}


def matches(head: bytes, path: Path) -> bool:
    """Parquet with the columns that every trace has."""
    if not head.startswith(b"PAR1"):
        return False
    try:
        return set(pq.read_schema(path).names).issuperset(_NEEDED)
    except UNREADABLE:
        return False


def read(path: Path, asked: Asked) -> Trace:
    """Every row, in order of requests and positions, of the model that the file lost."""
    model = asked.require_model(path)
    file = open_parquet(path)
    there = file.schema_arrow.names
    columns: dict[str, Any] = {}
    for name in (*_NEEDED, *_FLAT, "phase", "weights"):
        if name in there and name not in columns:
            columns[name] = _column(path, file, name)
        elif name in _NEEDED and name not in there:
            raise TraceError(f"{path}: no column {name!r}")
    experts, weights = columns["experts"], columns.get("weights")
    if experts.dtype.kind == "f":  # pandas makes a missing set NaN, and its column of floats
        experts = np.where(np.isnan(experts), -1, experts)
        if (experts != np.floor(experts)).any() or (np.abs(experts) > 2**31).any():
            raise TraceError(f"{path}: column experts holds numbers that are not whole")
        experts = experts.astype(np.int64)
    if weights is not None and weights.shape != experts.shape:
        raise TraceError(f"{path}: weights are {weights.shape}, experts {experts.shape}")
    (request, numbered), position = columns["request_id"], columns["position"]
    trace = Trace(
        path=path,
        meta=TraceMeta(model=model, recorded={"source": path.name, "format": FORMAT}),
        request_id=request,
        position=position,
        phase=columns.get("phase", np.full(len(request), DECODE, np.int8)),
        token_id=columns.get("token_id"),
        experts=routed_array(path, model, "experts", experts),
        weights=weights if weights is None or weights.dtype.kind == "f" else weights.astype(float),
        document=columns.get("document"),
    )
    first, which = np.unique(request, return_index=True, return_inverse=True)[1:]
    trace = take(trace, np.lexsort((position, first[which.reshape(-1)])))
    if numbered:
        trace = noted(trace, NUMBERED)
    if "phase" not in columns:
        trace = noted(trace, UNPHASED)
    lost = sorted(name for name in there if name.startswith("prediction."))
    return noted(trace, f"{_named(lost)} left out: the metadata is lost") if lost else trace


def _column(path: Path, file: Any, name: str) -> Any:
    """Numbers of a column; of ``request_id`` also whether they stand for others."""
    try:
        column = file.read(columns=[name]).column(name).combine_chunks()
        match name:
            case "experts" | "weights":
                return read_lists(column)
            case "phase":
                return read_phase(column)
            case "request_id":
                return _requests(column)
            case _:
                return read_flat(column, _FLAT[name])
    except ColumnError as error:
        raise TraceError(f"{path}: column {name}: {error}") from None
    except UNREADABLE as error:
        raise TraceError(f"{path}: not readable as Parquet: {first_line(error)}") from None


def _requests(column: Any) -> tuple[Array, bool]:
    """Whole numbers of 31 bits as they are; other numbers, and texts, in order of first use."""
    if pa.types.is_integer(column.type) and not column.null_count:
        values = column.to_numpy(zero_copy_only=False)
        if not len(values) or 0 <= values.min() <= values.max() < 2**31:
            return values.astype(np.int32), False
    return read_names(column), True


def _named(columns: list[str]) -> str:
    return columns[0][:60] + (f" and {len(columns) - 1} more" if len(columns) > 1 else "")
