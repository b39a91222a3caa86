"""How good a predictor was: slot recall and exact sets, layer by layer, whatever time did."""

from __future__ import annotations

import numpy as np

from sim.predictors.base import Prediction
from sim.workload import Step, Workload


class Quality:
    """Counts over the top-k of each prediction; slots and sets are per token."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._k = workload.top_k
        self.slots = [0] * workload.layers
        self.named = [0] * workload.layers
        self.sets = [0] * workload.layers
        self.exact = [0] * workload.layers

    def add(self, step: Step, target: int, prediction: Prediction) -> None:
        k = self._k
        if len(step.rows) == 1:
            routed, _ = self._workload.routed(step, target)
            if not routed:
                return
            found = len(set(prediction.ids[:k]).intersection(routed))
            self.slots[target] += k
            self.named[target] += found
            self.sets[target] += 1
            self.exact[target] += found == k
            return
        ids = np.array(prediction.ids).reshape(len(step.rows), -1)[:, :k]
        chosen = self._workload.token_sets(step, target)
        known = (chosen[:, 0] >= 0) & (ids[:, 0] >= 0)
        hit = (chosen[known, :, None] == ids[known, None, :]).any(-1).sum(-1)
        self.slots[target] += k * len(hit)
        self.named[target] += int(hit.sum())
        self.sets[target] += len(hit)
        self.exact[target] += int((hit == k).sum())

    def summary(self) -> dict[str, float | None]:
        return {
            "slot_recall": _ratio(sum(self.named), sum(self.slots)),
            "exact_set": _ratio(sum(self.exact), sum(self.sets)),
            "layer0_slot_recall": _ratio(self.named[0], self.slots[0]),
        }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
