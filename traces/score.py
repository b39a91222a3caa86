"""How well a recorded predictor named the routed experts: slot recall and exact set by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from traces.errors import did_you_mean
from traces.trace import Array, Trace, TraceError

_BLOCK = 4096  # rows compared at once


@dataclass(frozen=True)
class Score:
    """Counts by MoE layer, int64 [L], over the tokens that were both routed and predicted."""

    sets: Array  # routed sets that had a prediction
    slots: Array  # experts in those sets
    named: Array  # of them, experts among the predicted
    exact: Array  # sets of which every expert was predicted

    def slot_recall(self, layer: int | None = None) -> float | None:
        """Share of the routed experts that were named; None where nothing was predicted."""
        return _share(self.named, self.slots, layer)

    def exact_set(self, layer: int | None = None) -> float | None:
        """Share of the routed sets that were named whole; None where nothing was predicted."""
        return _share(self.exact, self.sets, layer)


def score(trace: Trace, name: str, *, extra: int = 0, phase: int | None = None) -> Score:
    """Compare the first ``k + extra`` experts that predictor ``name`` gave with the routed k.

    ``phase`` 0 or 1 counts prefill or decode only. Raises TraceError for a predictor that was
    not recorded.
    """
    if name not in trace.predictions:
        near = did_you_mean(name, trace.predictions)
        file = trace.path or "trace"
        raise TraceError(f"{file}: no recorded prediction {name!r}{near}")
    layers, _, top_k = trace.model.topology
    predicted = trace.predictions[name].experts[:, :, : top_k + extra]
    sets, named, exact = (np.zeros(layers, np.int64) for _ in range(3))
    for start in range(0, trace.tokens, _BLOCK):
        rows = slice(start, start + _BLOCK)
        routed, guess = trace.experts[rows], predicted[rows]
        counted = (routed[:, :, 0] >= 0) & (guess[:, :, 0] >= 0)
        if phase is not None:
            counted &= (trace.phase[rows] == phase)[:, None]
        found = np.zeros(routed.shape, bool)
        for slot in range(guess.shape[2]):
            found |= routed == guess[:, :, slot, None]
        hits = found.sum(axis=2) * counted
        sets += counted.sum(axis=0)
        named += hits.sum(axis=0)
        exact += (hits == top_k).sum(axis=0)
    return Score(sets, sets * top_k, named, exact)


def _share(part: Array, whole: Array, layer: int | None) -> float | None:
    top, bottom = (part.sum(), whole.sum()) if layer is None else (part[layer], whole[layer])
    return float(top / bottom) if bottom else None
