"""A run leaves flat rows behind: one per layer-step, per load and per step.

Rows are integers in growing buffers, so that millions of them stay small; times are ns.
Metrics and timelines (``sim.results``) are functions of these rows.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from prefetch_sim.sim.engine.load import Load


COUNTS = ("experts", "hits", "late", "cpu")  # of a layer-step's routed set
PACK = 100_000  # numbers gathered before a running simulation packs them


class Rows:
    """A table of integers with named columns, filled row by row.

    Times take 64 bits; what is counted or numbered, 32.
    """

    numbers: tuple[str, ...] = ()
    times: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._numbers, self._times = array("i"), array("q")
        # Rows are gathered in lists, which take them faster, and packed many at a time.
        self._new_numbers: list[int] = []
        self._new_times: list[int] = []
        self.add_numbers, self.add_times = self._new_numbers.extend, self._new_times.extend

    def pack(self, at_least: int = 0) -> None:
        """Pack the rows gathered, if they hold more than ``at_least`` numbers."""
        if len(self._new_numbers) > at_least:
            self._numbers.frombytes(np.array(self._new_numbers, dtype=np.int32).tobytes())
            self._times.frombytes(np.array(self._new_times, dtype=np.int64).tobytes())
            self._new_numbers.clear()
            self._new_times.clear()

    def extend(self, rows: npt.NDArray[np.int64]) -> None:
        """Add ``rows`` [n, columns]."""
        self.pack()
        numbers = len(self.numbers)
        self._numbers.frombytes(rows[:, :numbers].astype(np.int32).tobytes())
        self._times.frombytes(np.ascontiguousarray(rows[:, numbers:]).tobytes())

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.numbers, *self.times)

    def __len__(self) -> int:
        return (len(self._numbers) + len(self._new_numbers)) // len(self.numbers)

    def column(self, name: str) -> npt.NDArray[np.integer]:
        """[rows]: a view, not a copy. No row may be added while it is in use."""
        self.pack()
        if name in self.times:
            cells, names = np.frombuffer(self._times, dtype=np.int64), self.times
        else:
            cells, names = np.frombuffer(self._numbers, dtype=np.int32), self.numbers
        return cells[names.index(name) :: len(names)]

    def table(self) -> npt.NDArray[np.int64]:
        """[rows, columns]."""
        return np.stack([self.column(name) for name in self.columns], axis=1).astype(np.int64)


class LayerTotals(NamedTuple):
    """What results need of the layer records, of all steps together."""

    counts: npt.NDArray[np.int64]  # [decode and prefill, layers, COUNTS]
    stalls: npt.NDArray[np.int64]  # [5]: ns, in the order of the records' columns


class Totals(NamedTuple):
    """What results need of a run beside its steps; either engine gives it."""

    layers: LayerTotals
    bookkeeping: int  # ns; of a real device, all of its own work
    proposed: int  # prefetches
    dispositions: list[list[int]]  # how many ended so: [of decode and prefill][disposition]
    landed: int  # loads
    moved_bytes: list[list[int]]  # [stage][origin]


class LayerRecords(Rows):
    """One MoE layer of one step.

    ``late`` are the misses that a prefetch had begun, ``cpu`` those that the CPU computed.
    """

    numbers = ("step", "layer", *COUNTS)
    times = (
        "start",
        "routed",
        "end",
        "stall_demand",
        "stall_late",
        "stall_queue",
        "stall_storage",
        "stall_cpu",
    )

    def totals(self, prefill: npt.NDArray[np.integer], layers: int) -> LayerTotals:
        """``prefill`` [steps]: 0 or 1."""
        where = prefill[self.column("step")] * layers + self.column("layer")
        counts = np.zeros((2 * layers, len(COUNTS)), dtype=np.int64)
        for i, name in enumerate(COUNTS):
            counts[:, i] = np.bincount(where, self.column(name), 2 * layers)
        stalls = [int(self.column(name).sum()) for name in self.times if name.startswith("stall")]
        return LayerTotals(counts.reshape(2, layers, len(COUNTS)), np.array(stalls, dtype=np.int64))


class StepRecords(Rows):
    """One forward pass. ``compute`` is the time the compute engine was busy."""

    numbers = ("step", "prefill", "requests", "tokens")
    times = ("start", "end", "compute")


class LoadRecords(Rows):
    """One load that was queued. Times are -1 where that point was not reached.

    Not ``keep``: only ``landed`` is counted, which is all that a run's results need.
    """

    numbers = ("expert", "origin", "predictor", "target", "disposition")
    times = ("issued", "started", "landed", "needed", "settled")

    def __init__(self, keep: bool = True) -> None:
        super().__init__()
        self.keep = keep
        self.landed = 0  # how many did

    def append(self, load: Load, disposition: int, now: int) -> None:
        self.landed += load.landed >= 0
        if self.keep:
            self.add_numbers((load.expert, load.origin, load.predictor, load.target, disposition))
            self.add_times((load.issued, load.started, load.landed, load.needed, now))

    def extend(self, rows: npt.NDArray[np.int64]) -> None:
        self.landed += int((rows[:, self.columns.index("landed")] >= 0).sum())
        if self.keep:
            super().extend(rows)
