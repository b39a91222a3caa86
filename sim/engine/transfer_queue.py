"""The queue of one stage says which load moves next, and how much of it. It has no clock.

Loads wait in order of their keys, then of age, and move in chunks. What empties the queue keeps
time and knows which of its lanes are free: a link on SimPy's clock (``sim.machine.links``), or
threads that read a file.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from prefetch_sim.sim.engine.load import Load


class TransferQueue:
    """Orders loads that wait for ``stage`` of their path.

    ``chunk`` is the most bytes that move at once; None: whole loads. ``start(load, now)`` is asked
    before a load's first chunk and may refuse: False drops the load from this queue, None leaves it
    first in line. As long as one waits so, only loads that have begun go on: they may hold the
    very room that it waits for.
    """

    def __init__(
        self,
        stage: int,
        chunk: int | None,
        start: Callable[[Load, int], bool | None],
    ) -> None:
        self.stage, self.chunk = stage, chunk
        self._start = start
        self.waiting: list[tuple[int, int, Load]] = []  # a heap of keys, ages and loads

    def submit(self, load: Load) -> None:
        """Queue ``load`` under its present key: again, where that has changed."""
        heappush(self.waiting, (load.key, load.seq, load))

    def take(self, now: int) -> tuple[Load, int] | None:
        """What goes into service at ``now``, on a free lane, and how many bytes of it.

        None if nothing may: then nothing has changed but that loads were dropped.
        """
        heap, stage = self.waiting, self.stage
        held: list[tuple[int, int, Load]] = []  # they stay in line
        taken = None
        while heap:
            entry = heap[0]
            load = entry[2]
            nbytes = load.ready[stage]
            if load.key != entry[0] or not nbytes:
                heappop(heap)  # promoted, cancelled, or queued twice: this entry is void
                continue
            if load.started < 0:
                allowed = None if held else self._start(load, now)
                if not allowed:
                    heappop(heap)
                    if allowed is None:
                        held.append(entry)
                    continue
            if self.chunk is not None and nbytes > self.chunk:
                nbytes = self.chunk
            else:
                heappop(heap)
            load.ready[stage] -= nbytes
            taken = load, nbytes
            break
        for entry in held:
            heappush(heap, entry)
        return taken
