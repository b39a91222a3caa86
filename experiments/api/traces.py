"""Traces in memory: read by name or path, made of a DataFrame, and written for a run to read."""

from __future__ import annotations

import atexit
import hashlib
import os
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.config.values import parse_slice
from prefetch_sim.sim.setup.traces import trace_path
from prefetch_sim.traces.format import Trace, TraceError, read_trace, write_trace
from prefetch_sim.traces.importers import import_trace
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.parts import is_trace

if TYPE_CHECKING:
    import pandas as pd


def load_trace(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    model: str | ModelSpec | None = None,
    requests: str | None = None,
) -> Trace:
    """Read a trace.

    ``source``: a bundled trace by name, a file or folder, also of another tool's format, or a
    DataFrame with the columns of a trace file (``request_id``, ``position``, ``experts``) or of
    the plain CSV (``request``, ``position``, ``layer``, ``experts``). A frame does not say when
    predictions in it were made: they are left out, with a warning. ``model`` says whose routing it
    is where the source does not: a name, a file or a ModelSpec. ``requests``: a slice, ``"0:20"``,
    of a trace file. Raises TraceError or ConfigError, one line each.
    """
    spec = load_model(model) if isinstance(model, str) else model
    if not isinstance(source, str | os.PathLike):
        return _of_frame(source, spec)
    path = trace_path(os.fspath(source))
    if not is_trace(path) and path.exists():
        return import_trace(path, model=spec)
    try:
        chosen = None if requests is None else parse_slice(requests)
    except ValueError as error:
        raise ConfigError(f"requests: {error}") from error
    return read_trace(path, requests=chosen)


def _of_frame(frame: pd.DataFrame, model: ModelSpec | None) -> Trace:
    if model is None:
        raise ConfigError("load_trace: a DataFrame leaves the model open: give model=")
    lost = sorted({str(name).split(".")[1] for name in frame if _is_prediction(name)})
    if lost:
        warnings.warn(
            f"load_trace: predictions left out, as a DataFrame does not say when they were made: "
            f"{', '.join(lost)}; Trace.from_arrays(predictions=) takes them",
            stacklevel=3,
        )
    with TemporaryDirectory(prefix="prefetch-sim-") as folder:
        if "layer" in frame:
            path = Path(folder) / "frame.csv"
            lists = {
                name: [" ".join(map(str, np.atleast_1d(cell))) for cell in frame[name]]
                for name in ("experts", "weights")
                if name in frame
            }
            frame.assign(**lists).to_csv(path, index=False)
        else:
            path = Path(folder) / "frame.parquet"
            frame.to_parquet(path, index=False)
        try:
            return import_trace(path, model=model)
        except TraceError as error:
            raise TraceError(str(error).replace(str(path), "DataFrame")) from error


def _is_prediction(name: Any) -> bool:
    return isinstance(name, str) and name.startswith("prediction.") and name.count(".") == 2


def trace_file(trace: Trace) -> Path:
    """A file that holds ``trace``, for as long as this process lives. Raises TraceError."""
    path = _folder() / f"trace-{_digest(trace)}.parquet"
    if not path.exists():
        write_trace(path, trace)
    return path


@cache
def _folder() -> Path:
    folder = TemporaryDirectory(prefix="prefetch-sim-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _digest(trace: Trace) -> str:
    digest = hashlib.sha256(trace.meta.model_dump_json().encode())
    for array in _arrays(trace):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


def _arrays(trace: Trace) -> Iterator[Any]:
    yield from (trace.request_id, trace.position, trace.phase, trace.token_id, trace.document)
    yield from (trace.experts, trace.weights)
    for name in sorted(trace.predictions):
        yield from (trace.predictions[name].experts, trace.predictions[name].scores)
