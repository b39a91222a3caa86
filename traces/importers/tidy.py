"""What every imported recording goes through: no padding, and weights that are weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from prefetch_sim.traces.trace import PREFILL, Array, Prediction, Trace, TraceError, request_bounds

NOTES = "notes"  # the key of ``recorded`` that says what is not as in the file
NUMBERED = "requests numbered in order of first use"
UNPHASED = "no phase in the file: every token is taken as decode"
_HEAVIEST = float(np.finfo(np.float16).max)


def noted(trace: Trace, note: str) -> Trace:
    """``trace`` with one more note on what was left out or assumed."""
    said = trace.meta.recorded.get(NOTES)
    recorded = {**trace.meta.recorded, NOTES: f"{said}; {note}" if said else note}
    return replace(trace, meta=trace.meta.model_copy(update={"recorded": recorded}))


def tidy(trace: Trace) -> Trace:
    """Leave out rows that no layer routed, and all weights where one is none (NaN, negative)."""
    return _weighed(_routed(trace))


def take(trace: Trace, rows: Array) -> Trace:
    """Some rows of a trace, in their order, with every column."""

    def of(array: Array | None) -> Array | None:
        return None if array is None else array[rows]

    return replace(
        trace,
        request_id=trace.request_id[rows],
        position=trace.position[rows],
        phase=trace.phase[rows],
        token_id=of(trace.token_id),
        experts=trace.experts[rows],
        weights=of(trace.weights),
        document=of(trace.document),
        predictions={
            name: Prediction(said.info, said.experts[rows], said.scores[rows])
            for name, said in trace.predictions.items()
        },
    )


def _routed(trace: Trace) -> Trace:
    """A row without any expert is padding, or of a prefix that was not computed: no token.

    Positions close up, but for those that follow a prompt's first tokens: their context is there.
    """
    kept: Array = np.asarray((trace.experts >= 0).any(axis=(1, 2)))
    if kept.all():
        return trace
    if not kept.any():
        raise TraceError(f"{trace.path}: no row has an expert in any layer: nothing was routed")
    position = trace.position.copy()
    bounds = request_bounds(trace.request_id).tolist()
    for first, last in pairwise(bounds):
        here = kept[first:last]
        if here.all():
            continue
        prompt = trace.phase[first:last] == PREFILL
        cached = int(np.logical_and.accumulate(~here & prompt).sum())
        position[first:last] = position[first] + cached + np.cumsum(here) - 1
    count = int((~kept).sum())
    note = f"{count} row{'s' * (count > 1)} without an expert in any layer left out"
    return noted(take(replace(trace, position=position), np.flatnonzero(kept)), note)


def _weighed(trace: Trace) -> Trace:
    if trace.weights is None:
        return trace
    wrong = ~((trace.weights >= 0) & (trace.weights <= _HEAVIEST))  # NaN compares false
    wrong &= trace.experts >= 0
    if not wrong.any():
        weights = np.where(trace.experts >= 0, trace.weights, 0).astype(np.float16)
        return replace(trace, weights=weights)
    row, layer, slot = np.argwhere(wrong)[0].tolist()
    note = f"weights left out: row {row}, layer {layer} has {trace.weights[row, layer, slot]:g}"
    return noted(replace(trace, weights=None), note)
