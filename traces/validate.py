"""The rules a trace keeps, checked over whole arrays; a fault is named with row and layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from prefetch_sim.traces.sets import BLOCK, Fail, check_scores, check_sets
from prefetch_sim.traces.trace import (
    DECODE,
    PREFILL,
    Array,
    Trace,
    TraceError,
    request_bounds,
)

Locate = Callable[[int], tuple[Path | str, int]]


def validate(trace: Trace, locate: Locate | None = None) -> None:
    """Raise TraceError for the first broken rule.

    ``locate`` gives the file, and the row in it, of a row of ``trace``; by default they are the
    trace's own.
    """

    def fail(row: int, message: str, layer: int | None = None) -> TraceError:
        file, at = locate(row) if locate else (trace.path or "trace", row)
        place = f"row {at}" if layer is None else f"row {at}, layer {layer}"
        return TraceError(f"{file}: {place}: {message}")

    _check_shapes(trace)
    _check_order(trace, fail)
    check_sets("", trace.experts, trace.model.experts, fail)
    if trace.weights is not None:
        _check_weights(trace.weights, fail)
    for name, prediction in trace.predictions.items():
        where = f"prediction {name!r}: "
        check_sets(where, prediction.experts, trace.model.experts, fail)
        check_scores(where, prediction.scores, fail)


def _check_shapes(trace: Trace) -> None:
    file, tokens = trace.path or "trace", trace.tokens
    layers, _, top_k = trace.model.topology
    if not tokens:
        raise TraceError(f"{file}: the trace has no rows")
    columns: list[tuple[str, Array | None, tuple[int, ...]]] = [
        ("position", trace.position, (tokens,)),
        ("phase", trace.phase, (tokens,)),
        ("token_id", trace.token_id, (tokens,)),
        ("document", trace.document, (tokens,)),
        ("experts", trace.experts, (tokens, layers, top_k)),
        ("weights", trace.weights, (tokens, layers, top_k)),
    ]
    for name, prediction in trace.predictions.items():
        named = prediction.experts.shape[-1]
        columns.append((f"prediction.{name}.experts", prediction.experts, (tokens, layers, named)))
        columns.append((f"prediction.{name}.scores", prediction.scores, (tokens, layers, named)))
    for column, array, shape in columns:
        if array is not None and array.shape != shape:
            raise TraceError(f"{file}: {column} has shape {array.shape}, expected {shape}")


def _check_order(trace: Trace, fail: Fail) -> None:
    for column in ("request_id", "position", "token_id"):
        values = getattr(trace, column)
        if values is not None and values.min() < 0:
            row = int(np.argmax(values < 0))
            raise fail(row, f"{column} {values[row]} is negative")
    unknown = (trace.phase != PREFILL) & (trace.phase != DECODE)
    if unknown.any():
        row = int(np.argmax(unknown))
        raise fail(row, f"phase {trace.phase[row]} is neither 0 (prefill) nor 1 (decode)")
    starts = request_bounds(trace.request_id)[:-1]
    ids = trace.request_id[starts]
    first = np.unique(ids, return_index=True)[1]
    if len(first) < len(ids):
        again = int(np.setdiff1d(np.arange(len(ids)), first)[0])
        raise fail(int(starts[again]), f"request {ids[again]} again: its rows must be contiguous")
    inside = np.ones(trace.tokens, bool)
    inside[starts] = False
    gap = inside & (np.diff(trace.position, prepend=0) != 1)
    if gap.any():
        row = int(np.argmax(gap))
        raise fail(row, f"position {trace.position[row]} follows {trace.position[row - 1]}")
    back = inside & (np.diff(trace.phase, prepend=0) < 0)
    if back.any():
        raise fail(int(np.argmax(back)), "prefill after decode within a request")


def _check_weights(weights: Array, fail: Fail) -> None:
    for start in range(0, len(weights), BLOCK):
        block = weights[start : start + BLOCK]
        wrong = ~((block >= 0) & (block < np.inf))  # NaN compares false
        if wrong.any():
            row, layer, slot = np.argwhere(wrong)[0].tolist()
            raise fail(start + row, f"weight {block[row, layer, slot]}", layer)
