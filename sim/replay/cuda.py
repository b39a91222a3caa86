"""Streams are the engines of a GPU: one computes, one copies, one is for predictors.

The deciding thread launches work, which returns at once, and asks events whether it is through.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import torch

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.replay.device import Clock, Mark, RealDevice, ReplayError, Work, failed
from prefetch_sim.sim.replay.experts import aligned, available
from prefetch_sim.sim.replay.host import SWITCH, Worker, shell

DEPTH = 2  # copies issued at once, so that the link does not idle until the host has seen one
_POOL = 8 << 30  # bytes pinned, where nobody says: far more than a processor's caches hold
_FAR = 50_000_000  # ns between two events beyond which their difference, a float32, is coarse
_FACTS = "driver_version,pcie.link.gen.current,pcie.link.width.current,clocks.sm,clocks.mem"


class TorchCuda:
    """All that is asked of a GPU. ``copy``, ``record``, ``query`` and ``wait`` keep order.

    What is copied is there for another stream once ``query`` has said so, or behind a ``wait``.
    """

    def __init__(self) -> None:
        """Raises ConfigError where there is none."""
        if not torch.cuda.is_available():
            raise ConfigError(f"--device cuda: no CUDA device: {_why()}")
        self.device = torch.device("cuda", torch.cuda.current_device())

    def stream(self) -> Any:
        return torch.cuda.Stream(self.device)

    def launch(self, stream: Any, work: Work) -> None:
        """Let ``work`` ask for what it does on ``stream``."""
        with torch.cuda.stream(stream):
            work()

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        target.copy_(source, non_blocking=True)

    def record(self, stream: Any) -> Any:
        """An event behind all that was asked of ``stream`` so far."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(stream)
        return event

    def query(self, event: Any) -> bool:
        """Whether all before ``event`` is through."""
        return bool(event.query())

    def wait(self, stream: Any, event: Any) -> None:
        """What ``stream`` is asked for from now on comes after ``event``."""
        stream.wait_event(event)

    def elapsed_ns(self, first: Any, second: Any) -> int:
        return round(first.elapsed_time(second) * 1e6)

    def finish(self) -> None:
        """Wait until all that was ever asked for is through."""
        torch.cuda.synchronize(self.device)

    def memory(self, nbytes: int) -> torch.Tensor:
        """GPU memory, uint8 [nbytes]. Raises ReplayError."""
        try:
            return torch.empty(nbytes, dtype=torch.uint8, device=self.device)
        except torch.OutOfMemoryError as error:
            free = torch.cuda.mem_get_info(self.device)[0]
            raise ReplayError(
                f"GPU memory: no room for {nbytes / 2**30:.1f} GiB of experts "
                f"({free / 2**30:.1f} GiB are free)"
            ) from error

    def pinned(self, nbytes: int) -> torch.Tensor:
        """Host memory that a GPU copies from by itself, uint8 [nbytes]. Raises ReplayError."""
        runtime: Any = torch.cuda.cudart()
        held = aligned(nbytes).numpy()
        said = runtime.cudaHostRegister(held.ctypes.data, nbytes, 0)
        if int(said):
            raise ReplayError(
                f"pinned host memory: no room for {nbytes / 2**30:.1f} GiB "
                f"({runtime.cudaGetErrorString(said)})"
            )
        ended = weakref.finalize(held, runtime.cudaHostUnregister, held.ctypes.data)
        ended.atexit = False  # the driver may have gone by then
        return torch.from_numpy(held)

    def about(self) -> dict[str, str]:
        asked = f"--query-gpu={_FACTS}", "--format=csv,noheader", f"--id={self.device.index}"
        driver, generation, width, core, memory = (
            [part.strip() for part in shell("nvidia-smi", *asked).split(",")] + ["unknown"] * 5
        )[:5]
        return {
            "gpu": torch.cuda.get_device_name(self.device),
            "driver": driver or "unknown",
            "cuda": str(torch.version.cuda),
            "pcie": f"generation {generation}, x{width}",
            "clocks": f"core {core}, memory {memory}",
        }


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

    def __init__(
        self, clock: Clock, make: Callable[[], TorchCuda] = TorchCuda, depth: int = DEPTH
    ) -> None:
        """``depth``: copies issued at once. Raises ConfigError where there is no GPU."""
        self._cuda = cuda = make()
        self._time = EventTime(cuda, clock)
        self._depth = depth
        compute, side, self._copies = (StreamEngine(cuda, clock, self._time) for _ in range(3))
        self._streams = compute, side, self._copies
        self._readers: list[Worker] = []
        self._read: SimpleQueue[Mark] = SimpleQueue()
        super().__init__(compute, side, clock, self._next)

    @property
    def computes_on(self) -> torch.device:
        return self._cuda.device

    def begin(self) -> None:
        super().begin()
        self._time.restart()

    def lanes(self, stage: str, count: int) -> Sequence[StreamEngine | Worker]:
        """Threads that read; or the one stream that copies, as often as copies may be issued."""
        if stage == "host_link":
            return [self._copies] * self._depth
        self._readers += [Worker(f"{stage} {i}", self._read, self.now) for i in range(count)]
        return self._readers

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
        return self._cuda.about() | {"copies issued at once": str(self._depth)}

    def _next(self) -> Mark:
        while True:
            for stream in self._streams:
                if (mark := stream.through()) is not None:
                    return mark
            if self._readers:
                with suppress(Empty):
                    return self._read.get(timeout=0)

    def __enter__(self) -> CudaDevice:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        return self

    def __exit__(self, *_: object) -> None:
        for engine in (*self._readers, *self._streams):
            engine.close()
        sys.setswitchinterval(self._interval)
        with suppress(RuntimeError):  # said already, by the mark that it struck
            self._cuda.finish()


def _why() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA"
    try:
        torch.cuda.init()
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return "none is to be seen"
