"""What a replay asks of a GPU, by torch: the one place that knows CUDA."""

from __future__ import annotations

import subprocess
import weakref
from contextlib import suppress
from typing import Any

import torch

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.replay.device import ReplayError, Work
from prefetch_sim.sim.replay.experts import aligned

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
        return round(float(first.elapsed_time(second)) * 1e6)

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
        if said != runtime.cudaError.success:
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
            [part.strip() for part in _said("nvidia-smi", *asked).split(",")] + ["unknown"] * 5
        )[:5]
        return {
            "gpu": torch.cuda.get_device_name(self.device),
            "driver": driver or "unknown",
            "cuda": str(torch.version.cuda),
            "pcie": f"generation {generation}, x{width}",
            "clocks": f"core {core}, memory {memory}",
        }


def _said(*command: str) -> str:
    """What a program says, if it is there."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    return ""


def _why() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA"
    try:
        torch.cuda.init()
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return "none is to be seen"
