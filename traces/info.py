"""What is in a trace: its size, how its routing is spread, how well its predictors guessed."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefetch_sim.traces.lab.scoring import count_hits
from prefetch_sim.traces.states import said_of_states
from prefetch_sim.traces.trace import DECODE, PREFILL, Array, Trace


def trace_info(trace: Trace) -> dict[str, Any]:
    """A summary of ``trace`` that can be written as JSON; shares and entropies are in 0..1.

    ``routing_entropy`` is each layer's entropy of expert use over log E (1: all experts used
    alike). ``reuse`` is the share of a decode token's experts that the previous decode token
    used in the same layer. ``top_tenth_share`` is the share of accesses that went to the tenth
    of the experts used most, ``gini`` the Gini coefficient of expert use. Layers that never
    route in this trace give None.
    """
    use = expert_use(trace)
    reuse = decode_reuse(trace)
    return {
        "file": str(trace.path) if trace.path else None,
        "model": trace.model.model_dump(mode="json"),
        "moe_layers": trace.model.moe_layers,
        "recorded": {
            key: said_of_states(trace) if key == "states" else said
            for key, said in trace.meta.recorded.items()
        },
        "requests": len(trace.requests),
        "missing_requests": trace.missing,
        "tokens": {
            "all": trace.tokens,
            "prefill": int((trace.phase == PREFILL).sum()),
            "decode": int((trace.phase == DECODE).sum()),
            "unrouted": int((trace.experts < 0).all(axis=(1, 2)).sum()),
        },
        "columns": {
            "token_id": trace.token_id is not None,
            "weights": trace.weights is not None,
        },
        "sets": {
            "routed": int((trace.experts[:, :, 0] >= 0).sum()),
            "unrouted": int((trace.experts[:, :, 0] < 0).sum()),
        },
        "routing_entropy": _summary(normalised_entropy(use)),
        "reuse": _summary(reuse),
        "top_tenth_share": _summary(top_tenth_share(use)),
        "gini": _summary(gini(use)),
        "predictions": {name: _prediction_info(trace, name) for name in trace.predictions},
    }


def expert_use(trace: Trace) -> Array:
    """How often each expert was routed to: int64 [L, E]."""
    layers, experts, _ = trace.model.topology
    use = np.zeros((layers, experts), np.int64)
    for layer in range(layers):
        ids = trace.experts[:, layer].ravel()
        use[layer] = np.bincount(ids[ids >= 0], minlength=experts)
    return use


def decode_reuse(trace: Trace) -> Array:
    """Per layer, the share of a decode token's experts the previous decode token used: [L]."""
    follows = (
        (trace.phase[1:] == DECODE)
        & (trace.phase[:-1] == DECODE)
        & (trace.request_id[1:] == trace.request_id[:-1])
    )
    layers = trace.model.moe_layers
    shares: Array = np.full(layers, np.nan)
    for layer in range(layers):
        now, before = trace.experts[1:, layer][follows], trace.experts[:-1, layer][follows]
        both = (now[:, 0] >= 0) & (before[:, 0] >= 0)
        same = (now[both][:, :, None] == before[both][:, None, :]).any(axis=2)
        if len(same):
            shares[layer] = same.mean()
    return shares


def normalised_entropy(use: Array) -> Array:
    """Entropy of each row of counts over the logarithm of its length: [L], NaN where all 0."""
    share = _shares(use)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.asarray(-(share * logs).sum(axis=1) / np.log(max(use.shape[1], 2)))


def top_tenth_share(use: Array) -> Array:
    """Share of each row's counts that its largest tenth (rounded up) holds: [L]."""
    tenth = -(-use.shape[1] // 10)
    return np.asarray(np.sort(_shares(use), axis=1)[:, -tenth:].sum(axis=1))


def gini(use: Array) -> Array:
    """Gini coefficient of each row of counts, 0 for all alike: [L].

    With x sorted ascending: Σ (2 i - n - 1) x_i / (n Σ x), i from 1.
    """
    count = use.shape[1]
    ranks = 2 * np.arange(1, count + 1) - count - 1
    return np.asarray((np.sort(_shares(use), axis=1) * ranks).sum(axis=1) / count)


def _shares(use: Array) -> Array:
    total = use.sum(axis=1, keepdims=True)
    shares: Array = np.divide(use, total, out=np.full(use.shape, np.nan), where=total > 0)
    return shares


def _summary(by_layer: Array) -> dict[str, Any]:
    values = [None if np.isnan(value) else round(float(value), 6) for value in by_layer]
    known = [value for value in values if value is not None]
    return {"mean": round(sum(known) / len(known), 6) if known else None, "by_layer": values}


def _prediction_info(trace: Trace, name: str) -> dict[str, Any]:
    hits = count_hits(trace, name)
    k, layers = trace.model.top_k, list(range(trace.model.moe_layers))
    slots, exact = hits.by_layer("slots", k).tolist(), hits.by_layer("exact", k).tolist()
    return {
        **trace.predictions[name].info.model_dump(mode="json"),
        "named": hits.width,
        "slot_recall": _known(hits.pooled("slots", k, layers)),
        "exact_set": _known(hits.pooled("exact", k, layers)),
        "layer0_slot_recall": _known(slots[0]),
        "layer0_exact_set": _known(exact[0]),
        "slot_recall_by_layer": [_known(share) for share in slots],
        "exact_set_by_layer": [_known(share) for share in exact],
        "calibration_error": hits.calibration["all"],
    }


def _known(share: float) -> float | None:
    return None if np.isnan(share) else share
