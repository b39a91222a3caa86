"""How good a predictor was: slot recall and exact sets, layer by layer, whatever time did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sim.records import PredictionRecords
from sim.workload import Workload


class Quality:
    """The top-k of every prediction, compared with the routing once the run is over."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._k = workload.top_k
        self.records = PredictionRecords(self._k)

    def add(self, rows: Sequence[int], target: int, ids: list[int]) -> None:
        """Note a prediction for ``target``; slots and sets are counted per token."""
        k, width = self._k, len(ids) // len(rows)
        first = 0
        for row in rows:
            self.records.add_numbers((row, target, *ids[first : first + k]))
            first += width

    def counts(self) -> npt.NDArray[np.int64]:
        """[layers, 4]: slots, slots named, sets, sets named exactly.

        Tokens that the layer did not route, or that got no prediction, do not count.
        """
        layers = self._workload.layers
        total = np.zeros((layers, 4), dtype=np.int64)
        column = self.records.column
        layer = column("layer")
        routed = self._workload.flat[column("row"), layer]
        named = np.stack([column(f"named_{rank}") for rank in range(self._k)], axis=1)
        counted = (routed[:, 0] >= 0) & (named[:, 0] >= 0)
        found = np.zeros(len(layer), dtype=np.int64)
        for rank in range(self._k):  # slot by slot: no [tokens, k, k] array
            found += (routed[:, rank : rank + 1] == named).any(axis=1)
        values = np.stack([np.full_like(found, self._k), found, found >= 0, found == self._k], 1)
        np.add.at(total, layer[counted], values[counted])
        return total

    def summary(self) -> dict[str, float | None]:
        """Over all layers, and for layer 0, whose input is the token's embedding alone."""
        by_layer = self.counts()
        slots, named, sets, exact = by_layer.sum(axis=0).tolist()
        return {
            "slot_recall": _ratio(named, slots),
            "exact_set": _ratio(exact, sets),
            "layer0_slot_recall": _ratio(int(by_layer[0, 1]), int(by_layer[0, 0])),
        }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
