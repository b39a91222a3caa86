"""Threads are the engines of a machine without a GPU: one computes, others copy and read."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

import numpy as np
import torch

from prefetch_sim.sim.replay.device import Clock, Mark, RealDevice, ReplayError, Work
from prefetch_sim.sim.replay.experts import aligned

SWITCH = 2e-5  # s that a thread waits for another's Python before it insists
LONG = 1.0  # s without news after which threads are looked after
_PATIENCE = 10.0  # s that a thread may take to end what it has begun


class Worker:
    """A thread that does its work in order, and says on ``through`` what is done."""

    def __init__(
        self,
        name: str,
        through: SimpleQueue[Mark],
        clock: Callable[[], int],
        cores: set[int] | None = None,
    ) -> None:
        self._inbox: SimpleQueue[tuple[Work, Mark] | None] = SimpleQueue()
        self._through, self._clock, self._cores = through, clock, cores
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system has no more
            raise ReplayError(f"{name}: no thread for it: {error}") from error

    def put(self, work: Work, mark: Mark, after: Sequence[Mark] = ()) -> None:
        """Do ``work`` when ``after`` is through: all of one engine, so its last decides."""
        if after and not after[-1].seen:
            after[-1].also.append(lambda: self._inbox.put((work, mark)))
        else:
            self._inbox.put((work, mark))

    def check(self) -> None:
        """Raises ReplayError where the thread has died, so that nothing more comes of it."""
        if not self._thread.is_alive():
            raise ReplayError(f"{self._thread.name}: its thread has died")

    def close(self) -> None:
        self._ended = True
        self._inbox.put(None)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        if self._cores:
            with suppress(OSError):
                os.sched_setaffinity(0, self._cores)
        with torch.inference_mode():
            while (job := self._inbox.get()) is not None and not self._ended:
                work, mark = job
                mark.start = self._clock()
                try:
                    work()
                except BaseException as error:  # whoever waits for the mark has to hear of it
                    mark.error = error
                mark.end = self._clock()
                self._through.put(mark)


class HostDevice(RealDevice):
    """Computes on one core, and leaves the others to whoever decides, copies and reads.

    A context manager: threads, and what it changes of the process, end with it.
    """

    def __init__(self, clock: Clock) -> None:
        self._through: SimpleQueue[Mark] = SimpleQueue()
        self._before = _cores()
        first, *rest = sorted(self._before) or [0]
        self._computes = {first} if rest else None
        self._others = set(rest) or None
        self._engines: list[Worker] = []
        self._make = partial(Worker, through=self._through, clock=clock)
        compute = self._worker("compute", self._computes)
        super().__init__(compute, self._worker("predictors"), clock, self._next)

    @property
    def computes_on(self) -> torch.device:
        return torch.device("cpu")

    def lanes(self, stage: str, count: int) -> list[Worker]:
        """Threads that read or copy."""
        return [self._worker(f"{stage} {i}") for i in range(count)]

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        np.copyto(target.numpy(), source.numpy())

    def memory(self, nbytes: int) -> torch.Tensor:
        """Memory for experts to be computed from, uint8 [nbytes]. Raises ReplayError."""
        return aligned(nbytes)

    def host_memory(self, nbytes: int) -> torch.Tensor:
        """Memory for experts to be copied from, uint8 [nbytes]. Raises ReplayError."""
        return aligned(nbytes)

    def most_pinned(self, asked: int | None) -> int:
        """Bytes of host memory to keep at most for experts: as many as they have."""
        return sys.maxsize

    def about(self) -> dict[str, str]:
        return {}

    def _next(self) -> Mark:
        while True:
            try:
                return self._through.get(timeout=LONG)
            except Empty:
                for engine in self._engines:
                    engine.check()

    def _worker(self, name: str, cores: set[int] | None = None) -> Worker:
        try:
            made = self._make(name, cores=cores or self._others)
        except ReplayError:
            for engine in self._engines:
                engine.close()
            raise
        self._engines.append(made)
        return made

    def __enter__(self) -> HostDevice:
        self._settings = sys.getswitchinterval(), torch.get_num_threads()
        sys.setswitchinterval(SWITCH)
        torch.set_num_threads(1)
        if self._others:
            os.sched_setaffinity(0, self._others)
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            engine.close()
        interval, threads = self._settings
        sys.setswitchinterval(interval)
        torch.set_num_threads(threads)
        if self._others:
            os.sched_setaffinity(0, self._before)


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
