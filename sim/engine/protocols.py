"""What the engine asks of the machine that it runs on: SimPy's is in ``sim.machine``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from prefetch_sim.sim.engine.transfer_queue import TransferQueue


class Stage(Protocol):
    """One part of the load path: storage, or the host link."""

    name: str

    @property
    def queue(self) -> TransferQueue:
        """The loads that wait for it."""

    def serve(self, now: int) -> None:
        """Start chunks while a lane is free and a load may start."""


class Event(Protocol):
    """What the forward pass yields to wait for, and what a call at a given time is handed."""

    @property
    def value(self) -> Any:
        """What goes with it."""


class Device(Protocol):
    """What computes, and what keeps time."""

    busy_ns: int  # of the compute engine, so far

    def compute(self, start: int, duration: int, what: str) -> int:
        """The compute engine is busy for ``duration`` ns from ``start``; returns when it is not."""

    def on_cpu(self, start: int, duration: int) -> int:
        """The CPU computes experts for ``duration`` ns from ``start``; returns when that ends."""

    def beside(self, start: int, duration: int) -> int:
        """Run ``duration`` ns of work on the side engine, not before ``start``; when it ends."""

    def call(self, time: int, act: Callable[[Event], None], value: Any) -> None:
        """At ``time`` call ``act`` with an event that holds ``value``."""

    def turn(self, time: int, act: Callable[[Event], None]) -> None:
        """At ``time`` call ``act``: the forward pass looks, asleep though it is."""

    def until(self, time: int) -> Event:
        """For the forward pass to wait for."""

    def asleep(self) -> Event:
        """For the forward pass to wait for, until ``wake``."""

    def wake(self) -> None:
        """The forward pass goes on at this instant."""
