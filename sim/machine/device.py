"""The simulated device has a compute engine, a side engine for predictors, links, and a clock.

Time is SimPy's, in integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import simpy

from prefetch_sim.sim.cost.transfers import LoadPath
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.transfer_queue import TransferQueue
from prefetch_sim.sim.machine.clock import PASSES, PREDICTS, Alarm, Callback
from prefetch_sim.sim.machine.links import Server

CPU_EXPERTS = "experts on the CPU"  # what ``on_compute`` is told of them


class SimulatedDevice:
    """Empties the queues of ``loader`` over the stages of ``path``, and computes beside that."""

    def __init__(self, env: simpy.Environment, path: LoadPath, loader: Loader) -> None:
        self.env = env
        self._alarm = Alarm(env, PASSES)
        self._spare: list[Alarm] = []  # of predictions, to be set again
        self.busy_ns = 0
        self.on_compute: Callable[[int, int, str], None] | None = None
        self._side_free = 0
        self.stages: list[Server] = []
        for number, stage in enumerate(path.stages):
            queue = TransferQueue(number, stage.chunk, loader.start)
            self.stages.append(Server(env, stage, queue, loader))
        loader.connect(self.stages)

    @property
    def now(self) -> int:
        return self.env.now  # type: ignore[no-any-return]

    def compute(self, start: int, duration: int, what: str) -> int:
        """The compute engine is busy for ``duration`` ns from ``start``; returns when it is not."""
        self.busy_ns += duration
        if self.on_compute is not None and duration:
            self.on_compute(start, duration, what)
        return start + duration

    def on_cpu(self, start: int, duration: int) -> int:
        """The CPU computes experts for ``duration`` ns from ``start``; returns when that ends."""
        if self.on_compute is not None and duration:
            self.on_compute(start, duration, CPU_EXPERTS)
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
