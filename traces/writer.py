"""Writing a trace while it is captured: part files, whole or not there at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from prefetch_sim.traces.format import check_predictions, read_trace, write_trace
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.parts import open_parts, part_paths
from prefetch_sim.traces.states import remove_states, write_states
from prefetch_sim.traces.trace import (
    Array,
    Prediction,
    Trace,
    TraceError,
    TraceMeta,
    request_bounds,
)
from prefetch_sim.traces.validate import validate as validate_trace


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
        self._pending: list[tuple[Trace, Mapping[str, Array]]] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        self._next = len(part_paths(self.folder))
        remove_states(self.folder, self._next)  # whose part was never written
        if self._next:
            self._resume()

    def _resume(self) -> None:
        parts = open_parts(self.folder)
        check_same(self.folder, parts[0].meta, self.meta)
        self.meta = parts[0].meta
        ids = np.concatenate([part.read_ids() for part in parts])
        count = len(request_bounds(ids)) - 1
        final = read_trace(self.folder, requests=slice(count - 1, count))
        self._columns = _optional_columns(final)
        self._requests = set(np.unique(ids).tolist())
        self.last = _row(final, -1)

    @property
    def requests(self) -> frozenset[int]:
        """The requests that have rows, written or gathered."""
        return frozenset(self._requests)

    def append(self, batch: Trace, states: Mapping[str, Array] | None = None) -> None:
        """Add the rows of ``batch``; only its columns count, the metadata is the writer's.

        ``states`` (``traces.states``), each [T, L, width], go into files beside the parts. A
        batch may go on with the last request or begin others. Raises TraceError for one that
        cannot follow, which leaves what has been gathered as it was.
        """
        batch = replace(batch, path=self.folder, meta=self.meta)
        check_predictions(batch)
        validate_trace(batch)
        columns = _optional_columns(batch)
        if self._columns is not None and columns != self._columns:
            name = next(n for n in columns if columns[n] != self._columns[n])
            raise TraceError(f"{self.folder}: column {name} is not like that of earlier batches")
        self._check_continuity(batch)
        self._columns, self.last = columns, _row(batch, -1)
        self._requests.update(np.unique(batch.request_id).tolist())
        self._pending.append((batch, states or {}))
        if sum(part.tokens for part, _ in self._pending) >= self.part_rows:
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
        batches, states = zip(*self._pending)
        write_states(path, {k: np.concatenate([s[k] for s in states]) for k in states[0]})
        write_trace(path, _concatenate(path, batches))  # last: a part there is whole
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


def check_same(path: Path, there: TraceMeta, ours: TraceMeta) -> None:
    """Raises TraceError where ``path`` holds, as ``there`` says, another trace than ``ours``."""
    if _untimed(there) != _untimed(ours):
        what, other = ("parts of another", "folder") if path.is_dir() else ("another", "file")
        difference = _difference(there, ours)
        raise TraceError(f"{path}: holds {what} trace: {difference}; use another {other} (-o)")


def _untimed(meta: TraceMeta) -> TraceMeta:
    """Without what is measured anew in every run."""
    predictions = {
        name: info.model_copy(update={"time_us": None}) for name, info in meta.predictions.items()
    }
    return meta.model_copy(update={"predictions": predictions})


def _difference(there: TraceMeta, ours: TraceMeta) -> str:
    """The first of what two traces say differently of themselves, in words."""
    if there.model != ours.model:
        both = f"model {there.model.name}, not {ours.model.name}"
        fields = [key for key in ModelSpec.model_fields if key != "name"]
        other = [key for key in fields if getattr(there.model, key) != getattr(ours.model, key)]
        return f"{both}; they differ in {', '.join(other)}" if other else both
    for key in {**there.recorded, **ours.recorded}:
        was, is_now = (meta.recorded.get(key, "none") for meta in (there, ours))
        if was != is_now:
            return f"{key} was {was!r}, is {is_now!r}"
    names = ({*there.predictions}, {*ours.predictions})
    if names[0] != names[1]:
        was, is_now = (", ".join(sorted(n)) or "none" for n in names)
        return f"predictors were {was}, are {is_now}"
    return "predictors of the same names, trained otherwise"


def _row(trace: Trace, row: int) -> Row:
    return Row(int(trace.request_id[row]), int(trace.position[row]), int(trace.phase[row]))


def _optional_columns(trace: Trace) -> dict[str, Any]:
    """What may differ between traces of the same metadata: columns there, widths and types."""
    columns: dict[str, Any] = {
        "token_id": trace.token_id is not None,
        "document": trace.document is not None,
        "weights": trace.weights is not None,
    }
    for name, prediction in trace.predictions.items():
        columns[f"prediction.{name}"] = (prediction.experts.shape[2], prediction.scores.dtype)
    return columns


def _concatenate(path: Path, batches: Sequence[Trace]) -> Trace:
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
        document=None if first.document is None else join("document"),
    )
