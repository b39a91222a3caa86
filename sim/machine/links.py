"""Links on SimPy's clock: a server for each queue of transfers, with one alarm a lane.

A server moves one chunk of the load that is first in line and looks again: a chunk in service is
never interrupted, so chunks are the unit of waiting. The host link has one lane; storage has as
many as its queue depth, which share its bus.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapreplace
from typing import TYPE_CHECKING, Protocol

import simpy

from prefetch_sim.sim.engine.transfer_queue import TransferQueue
from prefetch_sim.sim.machine.clock import LANDS, Alarm

if TYPE_CHECKING:
    from prefetch_sim.sim.engine.load import Load


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
    """One stage of a load's way on SimPy's clock: lanes that empty a queue.

    ``moved(load, stage, nbytes, now)`` hears of each chunk that is through, and calls ``serve``
    when all is settled.
    """

    def __init__(
        self,
        env: simpy.Environment,
        name: str,
        queue: TransferQueue,
        timing: Timing,
        moved: Callable[[Load, int, int, int], None],
    ) -> None:
        self.name, self.queue = name, queue
        self.log: Callable[[str, Load, int, int], None] | None = None
        self._finish, self._moved = timing.finish, moved
        self._free = [Lane(env, LANDS) for _ in range(queue.lanes)]
        self._through = [self._done]  # what a lane calls when it rings

    def serve(self, now: int) -> None:
        """Start chunks while a lane is free and a load may start."""
        queue, free = self.queue, self._free
        while free and (taken := queue.take(now)):
            load, nbytes = taken
            lane = free.pop()
            lane.load, lane.nbytes = load, nbytes
            lane.finish = finish = self._finish(now, nbytes)
            if self.log is not None:
                self.log(self.name, load, now, finish)
            lane.callbacks = self._through
            lane.set(finish - now)

    def _done(self, lane: Lane) -> None:
        self._free.append(lane)
        self.queue.in_service -= 1
        self._moved(lane.load, self.queue.stage, lane.nbytes, lane.finish)
