"""The machine under a replay: what it is, and what it says when its memory is full."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import torch

from prefetch_sim.sim.replay.device import ReplayError


def machine() -> dict[str, str]:
    """What a replay ran on, and when."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "system": platform.platform(),
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available() -> int:
    """Bytes of host memory that may still be asked for, as far as the system says."""
    found = [sys.maxsize]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found.append(next(int(s.split()[1]) for s in lines if s.startswith("MemAvailable")) * 1024)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, KeyError):  # "max": no limit
        limit, used = (
            int((group / name).read_text(encoding="utf-8"))
            for name in ("memory.max", "memory.current")
        )
        lines = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
        counted = {name: int(value) for name, value in map(str.split, lines)}
        cached = counted["inactive_file"] + counted["active_file"]  # goes where there is need
        found.append(limit - used + cached)
    return max(0, min(found))


@contextmanager
def memory_errors() -> Iterator[None]:
    """What torch says when it finds no memory is one line."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = " ".join(str(error).split())
        raise ReplayError(f"GPU memory: {'. '.join(said.split('. ')[:2])}") from error
    except (RuntimeError, MemoryError) as error:
        said = " ".join(str(error).split())
        if "CUDA" in said:
            raise ReplayError(f"GPU: {said}") from error
        if isinstance(error, RuntimeError) and "allocate memory" not in said:
            raise
        raise ReplayError(f"host memory: {said or 'there is no more'}") from error
