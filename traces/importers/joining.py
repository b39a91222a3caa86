"""Several recordings of one model as one trace, their requests numbered on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.importers.tidy import NOTES, noted
from prefetch_sim.traces.trace import (
    Array,
    Prediction,
    Trace,
    TraceError,
    TraceMeta,
    request_bounds,
)


def join(path: Path, traces: Sequence[Trace]) -> Trace:
    """Requests 0, 1, ... of all ``traces``, in order; ``path`` names them in errors.

    Raises TraceError where models differ. Columns that some lack are left out, and noted.
    """
    first = traces[0]
    for other in traces[1:]:
        if other.model != first.model:
            raise TraceError(
                f"{other.path}: its model is not that of {first.path}{_why(first, other)}"
            )
    missing = []

    def column(name: str) -> Any:
        arrays = [getattr(trace, name) for trace in traces]
        if any(array is None for array in arrays):
            missing.extend([name] if any(array is not None for array in arrays) else [])
            return None
        return np.concatenate(arrays)

    predictions = {}
    for name, said in first.predictions.items():
        all_said = [trace.predictions.get(name) for trace in traces]
        alike = [s for s in all_said if s is not None and _shape(s) == _shape(said)]
        if len(alike) < len(traces):
            missing.append(f"prediction {name}")
            continue
        ids, scores = (
            np.concatenate([getattr(s, of) for s in alike]) for of in ("experts", "scores")
        )
        predictions[name] = Prediction(said.info, ids, scores)
    joined = Trace(
        path=path,
        meta=TraceMeta(
            model=first.model,
            recorded=_recorded(traces),
            predictions={name: said.info for name, said in predictions.items()},
        ),
        request_id=_numbered(traces),
        position=column("position"),
        phase=column("phase"),
        token_id=column("token_id"),
        experts=column("experts"),
        weights=column("weights"),
        predictions=predictions,
        document=column("document"),
    )
    later = {name for trace in traces[1:] for name in trace.predictions}
    missing += [f"prediction {name}" for name in sorted(later - first.predictions.keys())]
    if missing:
        joined = noted(joined, f"{', '.join(missing)} left out: not in every file")
    twin = _twin(traces)
    return joined if twin is None else noted(joined, twin)


def _shape(said: Prediction) -> tuple[Any, ...]:
    return said.info, said.experts.shape[2], said.scores.dtype


def _why(first: Trace, other: Trace) -> str:
    for key, value in first.model:
        if getattr(other.model, key) != value:
            return f": {key} differs"
    return ""


def _numbered(traces: Sequence[Trace]) -> Array:
    lengths = np.concatenate([np.diff(request_bounds(trace.request_id)) for trace in traces])
    return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def _recorded(traces: Sequence[Trace]) -> dict[str, str]:
    """What all say alike, the files' names, and the first of their notes with how many have it."""
    first, last = traces[0], traces[-1]
    recorded = {
        key: value
        for key, value in first.meta.recorded.items()
        if key not in (NOTES, "requests")
        and all(trace.meta.recorded.get(key) == value for trace in traces)
    }
    names = [trace.path.name if trace.path else "" for trace in (first, last)]
    recorded["source"] = f"{len(traces)} files, {names[0]} to {names[1]}"
    notes = [(t.path, t.meta.recorded[NOTES]) for t in traces if NOTES in t.meta.recorded]
    if notes:
        where, said = notes[0]
        others = [path for path, note in notes if note != said]
        alike = len(notes) - len(others) - 1
        recorded[NOTES] = f"{where.name if where else ''}{_and_more(alike)}: {said}"
        if others:
            name = others[0].name if others[0] else ""
            recorded[NOTES] += f" (and other notes on {name}{_and_more(len(others) - 1)})"
    return recorded


def _and_more(files: int) -> str:
    return f" and {files} more file{'s'[: files - 1]}" if files else ""


def _twin(traces: Sequence[Trace]) -> str | None:
    """A note on the first two files that hold the same routing: ranks of one run, often."""
    seen: dict[bytes, Trace] = {}
    for trace in traces:
        key = hashlib.sha256(np.ascontiguousarray(trace.experts).data).digest()
        if key in seen:
            names = [t.path.name if t.path else "" for t in (seen[key], trace)]
            return f"{names[0]} and {names[1]} hold the same routing; of ranks import one"
        seen[key] = trace
    return None
