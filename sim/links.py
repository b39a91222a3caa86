"""Links: servers of chunks, each one alarm per lane and a heap of waiting loads.

A server takes the waiting load with the lowest key, moves one chunk of it, and looks again: a
chunk in service is never interrupted, so chunks are the unit of waiting. The host link has one
lane; storage has as many as its queue depth, which share its bus.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Protocol

import simpy

from sim.clock import LANDS, Alarm

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

    def load_ns(self, nbytes: int, chunk: int | None) -> int:
        """ns of a load in chunks, each right behind another transfer."""
        return sum(self.duration(part, True) for part in _chunks(nbytes, chunk))

    def finish(self, now: int, nbytes: int) -> int:
        known = self._queued if now == self._busy_until else self._isolated
        duration = known.get(nbytes)
        if duration is None:
            duration = known[nbytes] = self.duration(nbytes, known is self._queued)
        self._busy_until = finish = now + duration
        return finish


class StorageTiming:
    """Reads in parallel lanes over one bus.

    A read takes at least ``bytes / stream_gb_s``, the bus moves ``gb_s`` for all reads together,
    and each read pays ``latency_us``. Small reads are bound by latency, few reads by the stream
    rate, many by the bus: bandwidth as a function of size and depth from three numbers.
    """

    def __init__(self, gb_s: float, stream_gb_s: float, latency_us: float) -> None:
        self._gb_s, self._stream, self._latency = gb_s, stream_gb_s, round(latency_us * 1e3)
        self._bus_free = 0

    def load_ns(self, nbytes: int, chunk: int, lanes: int) -> int:
        """ns of a load on idle storage, in reads of ``chunk``, ``lanes`` at once."""
        idle = StorageTiming(self._gb_s, self._stream, self._latency / 1e3)
        ends = [0] * lanes
        for part in _chunks(nbytes, chunk):
            heapreplace(ends, idle.finish(ends[0], part))
        return max(ends)

    def finish(self, now: int, nbytes: int) -> int:
        self._bus_free = max(now, self._bus_free) + round(nbytes / self._gb_s)
        return max(self._bus_free, now + round(nbytes / self._stream)) + self._latency


def _chunks(nbytes: int, chunk: int | None) -> list[int]:
    whole, rest = divmod(nbytes, chunk or nbytes)
    return [chunk or nbytes] * whole + ([rest] if rest else [])


class Lane(Alarm):
    """What moves one chunk at a time, and rings when it is through."""

    load: Load
    nbytes: int
    finish: int


class Server:
    """One stage of a load's way. ``stage`` is its index there.

    ``start(load, now)`` is asked before a load's first chunk and may refuse: False drops the load
    from this queue, None leaves it first in line until the next ``serve``. Until then only loads
    that have started go on: they may hold the very room that it waits for. ``moved(load, stage,
    nbytes, now)`` hears of each chunk that is through, and calls ``serve`` when all is settled.
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
        self.name, self.stage, self.lanes = name, stage, lanes
        self.log: Callable[[str, Load, int, int], None] | None = None
        self._finish, self._start, self._moved = timing.finish, start, moved
        self.chunk = chunk
        self._free = [Lane(env, LANDS) for _ in range(lanes)]
        self._through = [self._done]  # what a lane calls when it rings
        self._heap: list[tuple[int, int, Load]] = []

    def submit(self, load: Load) -> None:
        """Queue ``load`` under its present key; served at the next ``serve``."""
        heappush(self._heap, (load.key, load.seq, load))

    def serve(self, now: int) -> None:
        """Start chunks while a lane is free and a load may start."""
        heap, free, stage = self._heap, self._free, self.stage
        blocked: list[tuple[int, int, Load]] = []
        while free and heap:
            entry = heap[0]
            load = entry[2]
            nbytes = load.ready[stage]
            if load.key != entry[0] or not nbytes:
                heappop(heap)  # promoted, cancelled, or queued twice: this entry is void
                continue
            if load.started < 0:
                allowed = None if blocked else self._start(load, now)
                if not allowed:
                    heappop(heap)
                    if allowed is None:
                        blocked.append(entry)
                    continue
            if self.chunk is not None and nbytes > self.chunk:
                nbytes = self.chunk
            else:
                heappop(heap)
            load.ready[stage] -= nbytes
            lane = free.pop()
            lane.load, lane.nbytes = load, nbytes
            lane.finish = finish = self._finish(now, nbytes)
            if self.log is not None:
                self.log(self.name, load, now, finish)
            lane.callbacks = self._through
            lane.set(finish - now)
        for entry in blocked:
            heappush(heap, entry)

    def _done(self, lane: Lane) -> None:
        self._free.append(lane)
        self._moved(lane.load, self.stage, lane.nbytes, lane.finish)
