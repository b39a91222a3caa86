"""Links: servers of chunks, each one callback per chunk and a heap of waiting loads.

A server takes the waiting load with the lowest key, moves one chunk of it, and looks again: a
chunk in service is never interrupted, so chunks are the unit of waiting. The host link has one
lane; storage has as many as its queue depth, which share its bus.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol

import simpy

if TYPE_CHECKING:
    from sim.loads import Load


class Timing(Protocol):
    def finish(self, now: int, nbytes: int) -> int:
        """When a chunk of ``nbytes`` whose service starts ``now`` is through (ns)."""


class LinkTiming:
    """``alpha + bytes / beta``, with a smaller alpha right behind another transfer."""

    def __init__(self, gb_s: float, isolated_us: float, back_to_back_us: float) -> None:
        self._gb_s, self._isolated_us, self._queued_us = gb_s, isolated_us, back_to_back_us
        self._isolated: dict[int, int] = {}
        self._queued: dict[int, int] = {}
        self._busy_until = -1

    def duration(self, nbytes: int, back_to_back: bool) -> int:
        """ns of one transfer; 1 GB/s is 1 byte/ns."""
        alpha = self._queued_us if back_to_back else self._isolated_us
        return round(alpha * 1e3 + nbytes / self._gb_s)

    def finish(self, now: int, nbytes: int) -> int:
        known = self._queued if now == self._busy_until else self._isolated
        duration = known.get(nbytes)
        if duration is None:
            duration = known[nbytes] = self.duration(nbytes, known is self._queued)
        self._busy_until = now + duration
        return self._busy_until


class StorageTiming:
    """Reads in parallel lanes over one bus.

    A read takes at least ``bytes / stream_gb_s``, the bus moves ``gb_s`` for all reads together,
    and each read pays ``latency_us``. Small reads are bound by latency, few reads by the stream
    rate, many by the bus: bandwidth as a function of size and depth from three numbers.
    """

    def __init__(self, gb_s: float, stream_gb_s: float, latency_us: float) -> None:
        self._gb_s, self._stream, self._latency = gb_s, stream_gb_s, round(latency_us * 1e3)
        self._bus_free = 0

    def duration(self, nbytes: int) -> int:
        """ns of one read on idle storage."""
        return max(round(nbytes / self._gb_s), round(nbytes / self._stream)) + self._latency

    def finish(self, now: int, nbytes: int) -> int:
        self._bus_free = max(now, self._bus_free) + round(nbytes / self._gb_s)
        return max(self._bus_free, now + round(nbytes / self._stream)) + self._latency


class Server:
    """One stage of a load's way. ``stage`` is its index there.

    ``start(load, now)`` is asked before a load's first chunk and may refuse: False drops the load
    from this queue, None leaves it first in line until the next ``kick``. Until then only loads
    that have started go on: they may hold the very room that it waits for.
    """

    def __init__(
        self,
        env: simpy.Environment,
        name: str,
        stage: int,
        timing: Timing,
        lanes: int,
        chunk: int | None,
        start: Callable[[Load, int], bool | None],
        moved: Callable[[Load, int, int, int], None],
    ) -> None:
        self.env, self.name, self.stage, self.timing = env, name, stage, timing
        self.chunk = chunk
        self.lanes = self.free_lanes = lanes
        self.blocked = False  # the first in line waits for room
        self.busy_ns = 0
        self.log: Callable[[str, Load, int, int], None] | None = None
        self._start, self._moved = start, moved
        self._heap: list[tuple[int, int, Load]] = []

    @property
    def idle(self) -> bool:
        return self.free_lanes == self.lanes

    def submit(self, load: Load) -> None:
        """Queue ``load`` under its present key; served at the next ``kick``."""
        heappush(self._heap, (load.key, load.seq, load))

    def kick(self) -> None:
        """Serve while a lane is free and a load may start."""
        heap, stage = self._heap, self.stage
        if not self.free_lanes or not heap:
            return
        now: int = self.env.now
        blocked: list[tuple[int, int, Load]] = []
        while self.free_lanes and heap:
            key, _, load = heap[0]
            waiting = load.pending[stage]
            if load.key != key or not waiting:
                heappop(heap)  # promoted, cancelled, or queued twice: this entry is void
                continue
            if load.started < 0:
                allowed = None if blocked else self._start(load, now)
                if allowed is None:
                    blocked.append(heappop(heap))
                    continue
                if not allowed:
                    heappop(heap)
                    continue
            nbytes = waiting
            if self.chunk is not None and nbytes > self.chunk:
                nbytes = self.chunk
            if nbytes == waiting:
                heappop(heap)
            load.pending[stage] = waiting - nbytes
            finish = self.timing.finish(now, nbytes)
            self.free_lanes -= 1
            self.busy_ns += finish - now
            if self.log is not None:
                self.log(self.name, load, now, finish)
            done = simpy.Timeout(self.env, finish - now)
            done.callbacks.append(partial(self._done, load, nbytes, finish))
        for entry in blocked:
            heappush(heap, entry)
        self.blocked = bool(blocked)

    def _done(self, load: Load, nbytes: int, now: int, _: simpy.Event) -> None:
        self.free_lanes += 1
        self._moved(load, self.stage, nbytes, now)
        self.kick()
