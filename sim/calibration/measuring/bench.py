"""What things are measured with: a real device, whose engines say when they began and ended.

The engines are the replay's own, so what is measured is what a replay will meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from prefetch_sim.sim.calibration.samples import Samples
from prefetch_sim.sim.replay.device import Engine, Mark, RealDevice, Work

Place = Literal["device", "pinned", "pageable"]
_WARM = 2  # runs before any that counts
_AHEAD = 2  # units of work that an engine has before it, so that it never waits for more


def several(work: Work, count: int) -> Work:
    """Does ``work`` so many times."""

    def repeat() -> None:
        for _ in range(count):
            work()

    return repeat


class Pool:
    """Pieces of one buffer that take turns, so that no cache holds the next: uint8 [nbytes]."""

    def __init__(self, buffer: torch.Tensor, nbytes: int) -> None:
        self._turn = itertools.cycle(buffer[: len(buffer) // nbytes * nbytes].split(nbytes))

    def next(self) -> torch.Tensor:
        return next(self._turn)


@dataclass
class Bench:
    """A device to measure. ``lanes(stage, count)`` are further engines, which copy or read.

    ``memory(nbytes, place)`` is uint8 [nbytes], written to once; ``copy(target, source)`` is what
    loads do; ``captured`` makes of work what does it by a CUDA graph, and is None without those.
    """

    device: RealDevice
    dtype: torch.dtype
    lanes: Callable[[str, int], Sequence[Engine]]
    memory: Callable[[int, Place], torch.Tensor]
    copy: Callable[[torch.Tensor, torch.Tensor], None]
    where: str = "cpu"
    two_memories: bool = False
    captured: Callable[[Work], Work] | None = None

    def __post_init__(self) -> None:
        self.incoming = self.lanes("host_link", 1)[0]
        self.outgoing = self.device._side  # an engine apart, on every device

    def random(self, *shape: int) -> torch.Tensor:
        """Small random weights on the device."""
        return torch.randn(*shape, device=self.where, dtype=self.dtype) * 0.02

    def ids(self, count: int) -> torch.Tensor:
        """Room for the experts of one token, in host memory that the device may write to."""
        return self.memory(8 * count, "pinned").view(torch.int64)[None]

    def run(self, engine: Engine, works: Sequence[Work]) -> list[Mark]:
        """Do ``works``, one right behind another, and wait for them."""
        marks = [Mark("measuring") for _ in works]
        for work, mark in zip(works, marks):
            engine.put(work, mark)
        for mark in marks:
            self.device.until(mark)
        return marks

    def isolated_us(self, engine: Engine, work: Work) -> float:
        """From asking an idle engine for ``work`` until whoever decides knows that it is done."""
        begun = self.device.now
        self.run(engine, [work])
        return (self.device.now - begun) / 1e3

    def queued_us(self, engine: Engine, works: Sequence[Work]) -> float:
        """Each of ``works``, which the engine does right behind one another."""
        marks = self.run(engine, works)
        return (marks[-1].end - marks[0].start) / 1e3 / len(works)

    def once_us(self, work: Work) -> float:
        """``work`` on the engine that computes."""
        mark = self.device.compute("measuring", work)
        self.device.until(mark)
        return (mark.end - mark.start) / 1e3

    def timed(self, work: Work, repeats: int) -> Samples:
        """µs of ``work`` on the engine that computes."""
        for _ in range(_WARM):
            self.once_us(work)
        return Samples.of([self.once_us(work) for _ in range(repeats)])

    @contextmanager
    def beside(self, engine: Engine | None, work: Work) -> Iterator[None]:
        """``engine`` (None: the one that computes) does ``work`` over and over meanwhile."""
        under_way: list[Mark] = []
        goes_on = True

        def again() -> None:
            def through(_: int) -> None:
                under_way.remove(mark)
                if goes_on:
                    again()

            if engine is None:
                mark = self.device.compute("beside", work, through)
            else:
                mark = Mark("beside", through)
                engine.put(work, mark)
            under_way.append(mark)

        for _ in range(_AHEAD):
            again()
        try:
            yield
        finally:
            goes_on = False
            while any(mark.error is None for mark in under_way):
                self.device.next()

    def copying(self, source: Pool, target: Pool) -> Work:
        """Copies the next piece of ``source`` into the next of ``target``."""
        return lambda: self.copy(target.next(), source.next())
