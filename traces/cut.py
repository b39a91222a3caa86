"""A part of a recording: some of its MoE layers, some tokens of each of its requests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import Array, Prediction, Trace, TraceError, request_bounds


def some_layers(trace: Trace, chosen: slice) -> Trace:
    """``trace`` as of a model of the MoE layers ``chosen`` alone, counted from 0.

    Dense layers before the first, between, and none after the last, stay. What a predictor said of
    a layer is left out where the layer in which it was asked is. Raises TraceError.
    """
    first, last = _bounds(chosen, trace.model.moe_layers, "layers", "MoE layers")
    predictions = {
        name: _cut(prediction, first, last) for name, prediction in trace.predictions.items()
    }
    return replace(
        trace,
        meta=trace.meta.model_copy(update={"model": _model(trace.model, first, last)}),
        experts=np.ascontiguousarray(trace.experts[:, first:last]),
        weights=None if trace.weights is None else trace.weights[:, first:last],
        predictions=predictions,
    )


def some_tokens(trace: Trace, chosen: slice) -> Trace:
    """``trace`` with the tokens ``chosen`` of each request, counted from its first in the trace.

    What came before them is taken to be in the KV cache: positions stay. Raises TraceError where
    that leaves none, or ends past the longest request.
    """
    bounds = request_bounds(trace.request_id)
    lengths = np.diff(bounds)
    first, last = _bounds(chosen, int(lengths.max(initial=0)), "tokens", "tokens a request")
    place = np.arange(trace.tokens) - np.repeat(bounds[:-1], lengths)
    kept = (place >= first) & (place < last)
    return replace(
        trace,
        request_id=trace.request_id[kept],
        position=trace.position[kept],
        phase=trace.phase[kept],
        token_id=_rows(trace.token_id, kept),
        experts=trace.experts[kept],
        weights=_rows(trace.weights, kept),
        predictions={
            name: replace(p, experts=p.experts[kept], scores=p.scores[kept])
            for name, p in trace.predictions.items()
        },
        document=_rows(trace.document, kept),
    )


def _rows(column: Array | None, kept: Array) -> Array | None:
    return None if column is None else column[kept]


def _bounds(chosen: slice, count: int, key: str, what: str) -> tuple[int, int]:
    first, last = chosen.start or 0, count if chosen.stop is None else chosen.stop
    if last > count or first >= last:
        raise TraceError(f"{key}: '{first}:{last}' ends past the trace's {count} {what}")
    return first, last


def _cut(prediction: Prediction, first: int, last: int) -> Prediction:
    experts = prediction.experts[:, first:last].copy()
    scores = prediction.scores[:, first:last].copy()
    unasked = prediction.info.distance if first else 0
    experts[:, :unasked], scores[:, :unasked] = -1, 0
    return replace(prediction, experts=experts, scores=scores)


def _model(model: ModelSpec, first: int, last: int) -> ModelSpec:
    places = model.moe_layer_indices
    begins = places[first - 1] + 1 if first else 0
    ends = places[last - 1] + 1
    sizes = model.expert_bytes
    if begins % 2 and getattr(model.attention, "sliding_window", None) is not None:
        raise TraceError(
            f"layers: {model.name} attends locally in every second layer, so a part of it begins "
            f"with an even one, not with layer {begins}"
        )

    def inside(layers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(i - begins for i in layers if begins <= i < ends)

    others = [(other, inside(other.layers)) for other in model.other_attention]
    return model.model_copy(
        update={
            "layers": ends - begins,
            "dense_layers": inside(model.dense_layers),
            "bare_layers": inside(model.bare_layers),
            "other_attention": tuple(
                other.model_copy(update={"layers": layers}) for other, layers in others if layers
            ),
            "expert_bytes": None if sizes is None else sizes[first:last],
        }
    )
