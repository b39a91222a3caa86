"""How good the recorded predictors are, and how the experts are used: numbers of the card."""

from __future__ import annotations

from typing import Any

import numpy as np

from traces.trace import DECODE, PREFILL, Array, Trace

PHASE_ROWS = {"all": (PREFILL, DECODE), "prefill": (PREFILL,), "decode": (DECODE,)}


def hits(experts: Array, named: Array) -> Array:
    """How many of the routed experts [T, k] are among the named ones [T, m]: int [T]."""
    found: Array = (experts[:, :, None] == named[:, None, :]).any(axis=2).sum(axis=1)
    return found


def score_predictor(trace: Trace, name: str) -> dict[str, Any]:
    """Slot recall and exact set, per phase and layer, naming k experts and naming all recorded.

    Null where the predictor is silent. ``mean`` is over the layers it speaks of but layer 0.
    """
    prediction = trace.predictions[name]
    named = prediction.experts.shape[-1]
    top_k = trace.model.top_k
    spoken = [bool((prediction.experts[:, l, 0] >= 0).all()) for l in range(trace.model.moe_layers)]
    result: dict[str, Any] = {}
    for width in (top_k, named):
        found = np.stack(
            [
                hits(trace.experts[:, l], prediction.experts[:, l, :width])
                for l in range(trace.model.moe_layers)
            ],
            axis=1,
        )
        for phase, kept in PHASE_ROWS.items():
            rows = found[np.isin(trace.phase, kept)]
            slot = (rows / top_k).mean(axis=0)
            exact = (rows == top_k).mean(axis=0)
            result.setdefault(phase, {})[f"named_{width}"] = {
                "slot_recall": _figures(slot, spoken),
                "exact_set": _figures(exact, spoken),
            }
    return result


def _figures(values: Array, spoken: list[bool]) -> dict[str, Any]:
    layers = [round(float(v), 4) if s else None for v, s in zip(values, spoken)]
    later = [float(v) for v, s in list(zip(values, spoken))[1:] if s]
    return {"by_layer": layers, "mean_without_layer_0": round(sum(later) / len(later), 4)}


def expert_use(trace: Trace) -> dict[str, float]:
    """Shares of the model's experts (layers × E) that the trace never or hardly ever uses."""
    layers, experts, top_k = trace.model.topology
    flat = trace.experts + np.arange(layers)[None, :, None] * experts
    counts = np.bincount(flat.ravel(), minlength=layers * experts)
    fair = trace.tokens * top_k / experts
    return {
        "never": round(float((counts == 0).mean()), 4),
        "below_a_tenth_of_the_fair_share": round(float((counts < fair / 10).mean()), 4),
        "busiest_over_fair_share": round(float(counts.max() / fair), 2),
    }
