"""A GPU that is not there: the calls of ``sim.replay.gpu``, on the CPU, each as late as it may be.

A stream does what it is asked for only when one of its events is queried often enough, or when
another stream that waits for one gets there. So whoever looks at what has neither been queried nor
waited for sees what was there before.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

PATIENCE = 4  # an event is asked for in vain fewer times than this


class Event:
    def __init__(self, stream: deque[Any], patience: int) -> None:
        self.stream, self.patience = stream, patience
        self.done = False
        self.at = 0


class Wait:
    def __init__(self, event: Event) -> None:
        self.event = event


class FakeCuda:
    """``drift``: how much faster its clock runs than the host's."""

    device = torch.device("cpu")

    def __init__(self, seed: int = 0, drift: float = 0.0) -> None:
        self._draw, self._drift = random.Random(seed), drift
        self._streams: list[deque[Any]] = []

    def stream(self) -> deque[Any]:
        self._streams.append(deque())
        return self._streams[-1]

    def launch(self, stream: deque[Any], work: Callable[[], None]) -> None:
        stream.append(work)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        target.copy_(source)

    def record(self, stream: deque[Any]) -> Event:
        made = Event(stream, self._draw.randrange(PATIENCE))
        stream.append(made)
        return made

    def query(self, event: Event) -> bool:
        event.patience -= 1
        if event.patience < 0:
            self._run(event.stream, event)
        return event.done

    def wait(self, stream: deque[Any], event: Event) -> None:
        stream.append(Wait(event))

    def elapsed_ns(self, first: Event, second: Event) -> int:
        return round((second.at - first.at) * (1 + self._drift))

    def finish(self) -> None:
        for stream in self._streams:
            if stream:
                self._run(stream, self.record(stream))

    def memory(self, nbytes: int) -> torch.Tensor:
        return torch.full((nbytes,), 0x7F, dtype=torch.uint8)

    def pinned(self, nbytes: int) -> torch.Tensor:
        from prefetch_sim.sim.replay.experts import aligned

        return aligned(nbytes)

    def about(self) -> dict[str, str]:
        return {"gpu": "none: a stand-in"}

    def _run(self, stream: deque[Any], until: Event) -> None:
        while not until.done:
            item = stream.popleft()
            if isinstance(item, Event):
                item.done, item.at = True, time.perf_counter_ns()
            elif isinstance(item, Wait):
                self._run(item.event.stream, item.event)
            else:
                item()
