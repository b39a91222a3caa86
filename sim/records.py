"""What a run leaves behind: one flat row per layer-step, per load and per step.

Rows are 64-bit integers in one growing buffer, so that millions of them stay small; times are ns.
Metrics (``sim.metrics``) and timelines (``sim.timeline``) are functions of these rows.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sim.loads import Load


class Rows:
    """A table of integers with named columns, filled row by row."""

    columns: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._cells = array("q")
        self.add = self._cells.extend

    def __len__(self) -> int:
        return len(self._cells) // len(self.columns)

    def table(self) -> npt.NDArray[np.int64]:
        """[rows, columns]."""
        return np.array(self._cells, dtype=np.int64).reshape(-1, len(self.columns))

    def column(self, name: str) -> npt.NDArray[np.int64]:
        return np.frombuffer(self._cells, dtype=np.int64)[
            self.columns.index(name) :: len(self.columns)
        ]


class LayerRecords(Rows):
    """One MoE layer of one step. ``late`` are the misses that a prefetch had begun."""

    columns = (
        "step",
        "layer",
        "start",
        "routed",
        "end",
        "experts",
        "hits",
        "late",
        "stall_demand",
        "stall_late",
        "stall_queue",
        "stall_storage",
    )


class StepRecords(Rows):
    """One forward pass. ``compute`` is the time the compute engine was busy."""

    columns = ("step", "prefill", "start", "end", "compute", "requests", "tokens")


class LoadRecords(Rows):
    """One load that was queued. Times are -1 where that point was not reached."""

    columns = (
        "expert",
        "origin",
        "predictor",
        "target",
        "issued",
        "started",
        "landed",
        "needed",
        "disposition",
        "settled",
    )

    def append(self, load: Load, disposition: int, now: int) -> None:
        self.add(
            (
                load.expert,
                load.origin,
                load.predictor,
                load.target,
                load.issued,
                load.started,
                load.landed,
                load.needed,
                disposition,
                now,
            )
        )
