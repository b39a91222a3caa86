"""Streams are the engines of a GPU: one computes, one copies, one is for predictors.

The deciding thread launches work, which returns at once, and asks events whether it is through.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import torch

from prefetch_sim.sim.replay.device import Clock, Mark, RealDevice, Work, failed
from prefetch_sim.sim.replay.gpu import TorchCuda
from prefetch_sim.sim.replay.host import LONG, SWITCH, Worker
from prefetch_sim.sim.replay.machine import available

_POOL = 8 << 30  # bytes pinned, where nobody says: far more than a processor's caches hold
_FAR = 50_000_000  # ns between two events beyond which their difference, a float32, is coarse


class EventTime:
    """Says in the host's time when events were, although the two clocks drift apart.

    An event lies between the last time it was asked for in vain and the first time it was there.
    """

    def __init__(self, cuda: TorchCuda, clock: Clock) -> None:
        self._cuda, self._clock, self._stream = cuda, clock, cuda.stream()
        self.restart()

    def restart(self) -> None:
        """Tell times from now on by an event of now."""
        self._cuda.finish()
        self._base = self._cuda.record(self._stream)
        self._cuda.finish()
        self._at = self._clock()

    def of(self, start: Any, end: Any, after: int, before: int) -> tuple[int, int]:
        """When both were, ns; ``end`` after ``after`` and before ``before``."""
        began, ended = (self._at + self._cuda.elapsed_ns(self._base, e) for e in (start, end))
        amiss = min(max(ended, after), before) - ended
        if amiss or ended - self._at > _FAR:
            self._base, self._at = end, ended + amiss
        return began + amiss, ended + amiss


class StreamEngine:
    """A stream: what it is asked for is between two events, and through when the second is."""

    def __init__(self, cuda: TorchCuda, clock: Clock, time: EventTime) -> None:
        self._cuda, self._clock, self._time = cuda, clock, time
        self._stream = cuda.stream()
        self._asked: deque[tuple[Mark, Any]] = deque()  # with the event before it
        self._in_vain: deque[int] = deque()  # by then at least each was not through
        self._free = 0  # when the last one was

    def begin(self) -> None:
        """The clock has been restarted."""
        self._free = 0

    def put(self, work: Work, mark: Mark, after: Sequence[Mark] = ()) -> None:
        """Launch ``work``, to be done after ``after``, which was asked of other streams.

        Raises ReplayError where it cannot be launched.
        """
        for other in after:
            if not other.seen:
                self._cuda.wait(self._stream, other.event)
        start = self._cuda.record(self._stream)
        try:
            self._cuda.launch(self._stream, work)
        except torch.OutOfMemoryError:
            raise  # which is said as such
        except Exception as error:
            mark.error = error
            raise failed(mark) from error
        self._in_vain.append(self._clock())
        mark.event = self._cuda.record(self._stream)
        self._asked.append((mark, start))

    def through(self) -> Mark | None:
        """The next mark that is through, if it is."""
        if not self._asked:
            return None
        mark, start = self._asked[0]
        try:
            if not self._cuda.query(mark.event):
                self._in_vain[0] = self._clock()
                return None
            after, before = self._in_vain.popleft(), self._clock()
            began, ended = self._time.of(start, mark.event, after, before)
            mark.start = max(began, self._free)
            mark.end = self._free = max(ended, mark.start)
        except RuntimeError as error:  # what has failed on the GPU since
            mark.error = error
        self._asked.popleft()
        return mark

    def close(self) -> None:
        self._asked.clear()


class CudaDevice(RealDevice):
    """Computes and copies on streams of a GPU; threads read, where experts are in a file.

    A context manager: when it ends, so has all that was asked of the GPU.
    """

    looks = False  # at what lands: that would wait for the GPU
    ahead = 2  # so that the link does not idle until the host has seen one

    def __init__(self, clock: Clock) -> None:
        """Raises ConfigError where there is no GPU."""
        self._cuda = TorchCuda()
        self._time = EventTime(self._cuda, clock)
        self._streams = [StreamEngine(self._cuda, clock, self._time) for _ in range(2)]
        compute, side = self._streams
        self._readers: list[Worker] = []
        self._read: SimpleQueue[Mark] = SimpleQueue()
        super().__init__(compute, side, clock, self._next)

    @property
    def computes_on(self) -> torch.device:
        return self._cuda.device

    def begin(self) -> None:
        super().begin()
        self._time.restart()
        for stream in self._streams:
            stream.begin()

    def lanes(self, stage: str, count: int) -> Sequence[StreamEngine | Worker]:
        """Threads that read, or streams that copy."""
        if stage == "host_link":
            made = [StreamEngine(self._cuda, self._clock, self._time) for _ in range(count)]
            self._streams += made
            return made
        first = len(self._readers)
        for i in range(count):  # one by one: where there are no more threads, those made end
            self._readers.append(Worker(f"{stage} {i}", self._read, self._clock))
        return self._readers[first:]

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self._cuda.copy(target, source)

    def memory(self, nbytes: int) -> torch.Tensor:
        return self._cuda.memory(nbytes)

    def host_memory(self, nbytes: int) -> torch.Tensor:
        return self._cuda.pinned(nbytes)

    def most_pinned(self, asked: int | None) -> int:
        """Bytes of host memory to pin at most for experts; ``asked``: by whoever replays."""
        return asked or min(_POOL, available() // 2)

    def about(self) -> dict[str, str]:
        return self._cuda.about() | {"copies issued at once": str(self.ahead)}

    def _next(self) -> Mark:
        begun = self.now
        while True:
            for stream in self._streams:
                if (mark := stream.through()) is not None:
                    return mark
            if self._readers:
                with suppress(Empty):
                    return self._read.get_nowait()
                if self.now - begun > LONG * 1e9:
                    begun = self.now
                    for reader in self._readers:
                        reader.check()

    def __enter__(self) -> CudaDevice:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.close()
        for stream in self._streams:
            stream.close()
        sys.setswitchinterval(self._interval)
        with suppress(RuntimeError):  # said already, by the mark that it struck
            self._cuda.finish()
