"""The simulated device: a compute engine, a side engine for predictors, links, and a clock.

Time is SimPy's, in integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from typing import Any

import simpy

from prefetch_sim.hardware_profiles import HardwareProfile
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.transfer_queue import TransferQueue
from prefetch_sim.sim.machine.clock import PASSES, PREDICTS, Alarm, Callback
from prefetch_sim.sim.machine.links import LinkTiming, Server, StorageTiming

MIB = 2**20


class SimulatedDevice:
    """``sizes`` are the bytes of one expert, by MoE layer.

    By MoE layer, ``load_ns`` is one load right behind another, or alone on idle storage, and
    ``wire_ns`` the least that its bare bytes can take.
    ``rates`` are the full rates of the stages, bytes a ns; ``bytes_per_ns`` that of the last.
    """

    def __init__(
        self,
        env: simpy.Environment,
        profile: HardwareProfile,
        loader: Loader,
        sizes: Sequence[int],
    ) -> None:
        self.env, self.profile = env, profile
        self._alarm = Alarm(env, PASSES)
        self._spare: list[Alarm] = []  # of predictions, to be set again
        self.busy_ns = 0
        self.on_compute: Callable[[int, int, str], None] | None = None
        self._side_free = 0
        stages: list[Server] = []
        self.rates: list[float] = []
        pieces = [1] * len(sizes)  # in which an expert goes through a stage, at most
        if loader.host is not None or profile.unified_memory:
            disk = profile.storage
            storage = StorageTiming(disk.gb_s.value, disk.stream_gb_s.value, disk.latency_us.value)
            lanes, chunk = int(disk.queue_depth.value), round(disk.read_mib.value * MIB)
            queue = TransferQueue(0, lanes, chunk, loader.start)
            stages.append(Server(env, "storage", queue, storage, loader.moved))
            self.load_ns = [storage.load_ns(size, chunk, lanes) for size in sizes]
            pieces = [n + (size - 1) // chunk for n, size in zip(pieces, sizes)]
            self.wire_ns = _least_ns(sizes, disk.gb_s.value, pieces)
            self.rates.append(disk.gb_s.value)
        if not profile.unified_memory:
            assert profile.host_link is not None  # the profile's schema sees to it
            wire = profile.host_link
            link = LinkTiming(wire.gb_s.value, wire.isolated_us.value, wire.back_to_back_us.value)
            unit = round(wire.chunk_mib.value * MIB) if wire.chunk_mib else None
            queue = TransferQueue(len(stages), 1, unit, loader.start)
            stages.append(Server(env, "host_link", queue, link, loader.moved))
            self.load_ns = [link.load_ns(size, unit) for size in sizes]
            if unit:  # a chunk is full, or takes all that had been read by then
                pieces = [n + (size - 1) // unit for n, size in zip(pieces, sizes)]
            self.wire_ns = _least_ns(sizes, wire.gb_s.value, pieces)
            self.rates.append(wire.gb_s.value)
        self.bytes_per_ns = self.rates[-1]
        self.stages = stages
        loader.connect(stages)

    @property
    def now(self) -> int:
        return self.env.now  # type: ignore[no-any-return]

    def compute(self, start: int, duration: int, what: str) -> int:
        """The compute engine is busy for ``duration`` ns from ``start``; returns when it is not."""
        self.busy_ns += duration
        if self.on_compute is not None and duration:
            self.on_compute(start, duration, what)
        return start + duration

    def beside(self, start: int, duration: int) -> int:
        """Run ``duration`` ns of work on the side engine, not before ``start``; when it ends.

        Work is served in order of the calls.
        """
        self._side_free = end = max(start, self._side_free) + duration
        return end

    def call(self, time: int, act: Callback, value: Any) -> None:
        """At ``time`` call ``act`` with an event that holds ``value``: a prediction is out."""
        alarm = self._spare.pop() if self._spare else Alarm(self.env, PREDICTS)
        alarm.callbacks = [act, self._spare.append]
        alarm._value = value
        self.env.schedule(alarm, PREDICTS, time - self.env.now)

    def turn(self, time: int, act: Callback) -> None:
        """At ``time`` call ``act``: the forward pass looks, asleep though it is."""
        alarm = Alarm(self.env, PASSES)
        alarm.callbacks = [act]
        alarm.set(time - self.env.now)

    def until(self, time: int) -> simpy.Event:
        """For the forward pass to wait for."""
        alarm, env = self._alarm, self.env  # `asleep` and `set`, without two calls a layer
        alarm.callbacks = []
        env.schedule(alarm, PASSES, time - env.now)
        return alarm

    def asleep(self) -> Alarm:
        """For the forward pass to wait for, until ``wake``."""
        self._alarm.callbacks = []
        return self._alarm

    def wake(self) -> None:
        self._alarm.set(0)

    def link_ns(self, nbytes: int) -> int:
        """How long the link into the cache needs for ``nbytes`` at full rate."""
        return round(nbytes / self.bytes_per_ns)


def _least_ns(sizes: Sequence[int], gb_s: float, pieces: Sequence[int]) -> list[int]:
    """Each piece is rounded to whole ns, which may take half of one off it."""
    return [max(0, floor(size / gb_s - (n - 1) / 2)) for size, n in zip(sizes, pieces)]
