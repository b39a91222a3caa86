"""How good a predictor was: slot recall and exact sets, layer by layer, whatever time did."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.predictors.base import Table, in_common
from prefetch_sim.sim.workload.workload import Workload


class Quality:
    """The top-k of every prediction in ``table``, compared with the routing."""

    def __init__(self, workload: Workload, table: Table, distance: int) -> None:
        self.table = table
        self._distance = distance
        self._flat, self._k = workload.flat, workload.top_k

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """[layers, 4]: slots, slots named, sets, sets named exactly.

        Tokens that the layer did not route, or that got no prediction, do not count.
        """
        k, layers = self._k, self._flat.shape[1]
        total = np.zeros((layers, 4), dtype=np.int64)
        for layer in range(self._distance, layers):
            routed, named = self._flat[:, layer], self.table.ids[:, layer, :k]
            counted = (routed[:, 0] >= 0) & (named[:, 0] >= 0)
            routed, named = routed[counted], named[counted]
            found = in_common(routed, named)
            total[layer] = k * len(found), found.sum(), len(found), (found == k).sum()
        return total

    def summary(self) -> dict[str, Any]:
        """Over all layers, for layer 0, whose input is the token's embedding alone, and for each.

        ``predicted`` is the share of the routed sets that it speaks of, in the layers that its
        distance lets it reach; the others are shares of those. None where nothing was predicted.
        """
        routed = int((self._flat[:, self._distance :, 0] >= 0).sum())
        counts = self.counts
        slots, named, sets, exact = counts.sum(axis=0).tolist()
        recalls = [_ratio(n, of) for of, n, _, _ in counts.tolist()]
        exacts = [_ratio(n, of) for _, _, of, n in counts.tolist()]
        return {
            "predicted": _ratio(sets, routed),
            "slot_recall": _ratio(named, slots),
            "exact_set": _ratio(exact, sets),
            "layer0_slot_recall": recalls[0],
            "layer0_exact_set": exacts[0],
            "slot_recall_by_layer": recalls,
            "exact_set_by_layer": exacts,
        }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
