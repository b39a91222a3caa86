"""A link on SimPy's clock is a server for one queue of transfers, with one alarm a lane.

A server moves one chunk of the load that is first in line and looks again: a chunk in service is
never interrupted, so chunks are the unit of waiting. The host link has one lane; storage has as
many as its queue depth, which share its bus.
"""

from __future__ import annotations

from collections.abc import Callable

import simpy

from prefetch_sim.sim.cost.transfers import HostLink, Stage, Storage
from prefetch_sim.sim.engine.load import Load
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.transfer_queue import TransferQueue
from prefetch_sim.sim.machine.clock import LANDS, Alarm

# When a chunk of so many bytes, whose service starts now, is through: (now, bytes, bytes of its
# expert) -> ns.
Finish = Callable[[int, int, int], int]


def _on_link(link: HostLink) -> Finish:
    # ns by bytes and size of the expert; isolated, behind another
    known: tuple[dict[tuple[int, int], int], ...] = ({}, {})
    busy_until = -1

    def finish(now: int, nbytes: int, size: int) -> int:
        nonlocal busy_until
        behind = now == busy_until
        duration = known[behind].get((nbytes, size))
        if duration is None:
            duration = known[behind][nbytes, size] = link.chunk_ns(nbytes, size, behind)
        busy_until = now + duration
        return busy_until

    return finish


def _beside_cpu(link: HostLink, loader: Loader) -> Finish:
    """A link that is slower while the CPU computes experts."""
    known: dict[tuple[bool, bool, int, int], int] = {}
    busy_until = -1

    def finish(now: int, nbytes: int, size: int) -> int:
        nonlocal busy_until
        behind, contended = now == busy_until, now < loader.cpu_until
        key = behind, contended, nbytes, size
        if key not in known:
            known[key] = link.chunk_ns(nbytes, size, behind, contended)
        busy_until = now + known[key]
        return busy_until

    return finish


def _off_storage(storage: Storage) -> Finish:
    bus_free = 0

    def finish(now: int, nbytes: int, size: int) -> int:
        nonlocal bus_free
        bus_free, end = storage.read(now, bus_free, nbytes)
        return end

    return finish


class Lane(Alarm):
    """Moves one chunk at a time, and rings when it is through."""

    load: Load
    nbytes: int
    finish: int


class Server:
    """Empties the queue of one stage of the load path, by lanes on SimPy's clock.

    ``loader.moved`` hears of each chunk that is through, and calls ``serve`` when all is settled.
    """

    def __init__(
        self,
        env: simpy.Environment,
        stage: Stage,
        queue: TransferQueue,
        loader: Loader,
    ) -> None:
        self.name, self.queue, self._env = stage.name, queue, env
        self.log: Callable[[str, Load, int, int], None] | None = None
        if isinstance(stage, Storage):
            self._finish = _off_storage(stage)
        else:
            slows = stage.contended_bytes_per_ns < stage.bytes_per_ns
            self._finish = _beside_cpu(stage, loader) if slows else _on_link(stage)
        self._moved = loader.moved
        self._free = [Lane(env, LANDS) for _ in range(stage.lanes)]
        self._through = [self._done]  # what a lane calls when it rings

    def serve(self, now: int) -> None:
        """Start chunks while a lane is free and a load may start."""
        queue, free, env = self.queue, self._free, self._env
        while free and (taken := queue.take(now)):
            load, nbytes = taken
            lane = free.pop()
            lane.load, lane.nbytes = load, nbytes
            lane.finish = finish = self._finish(now, nbytes, load.size)
            if self.log is not None:
                self.log(self.name, load, now, finish)
            lane.callbacks = self._through
            env.schedule(lane, LANDS, finish - now)

    def _done(self, lane: Lane) -> None:
        self._free.append(lane)
        self._moved(lane.load, self.queue.stage, lane.nbytes, lane.finish)
