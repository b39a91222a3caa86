"""What machine this is: names, sizes and versions, as far as it says. Works without a GPU."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """``name`` is of the device that multiplies; ``facts`` are for the reader."""

    name: str
    cores: int
    host_gib: float
    device_gib: float | None  # none: it has the host's memory
    facts: dict[str, str] = field(default_factory=dict)


def describe(torch: Any = None, device: str = "cpu") -> Machine:
    """This machine. ``torch``: the module, where there is one."""
    cpu, cores = _cpu_name(), usable_cores()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    facts = {
        "load": f"{load():.1f} at the start",
        "cpu": f"{cpu}, {cores} cores to use",
        "memory": f"{memory:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    if torch is not None:
        facts["torch"] = str(torch.__version__)
    if device == "cpu":
        return Machine(cpu, cores, memory, None, facts)
    gpu = torch.cuda.get_device_properties(0)
    facts |= {
        "gpu": f"{gpu.name}, {gpu.total_memory / GIB:.1f} GiB",
        "cuda": str(torch.version.cuda),
    }
    return Machine(str(gpu.name), cores, memory, gpu.total_memory / GIB, facts)


def load() -> float:
    """How many processes wanted a core in the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def free_gib() -> float:
    """What is free of this machine's memory, as far as it says; else half of it."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key == "MemAvailable":
                return int(value.split()[0]) * 1024 / GIB
    except (OSError, ValueError):
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB / 2


def resident_mib() -> float | None:
    """What this process has in memory by now; none where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def kept_in_memory(folder: Path) -> str:
    """The kind of the file system of ``folder`` where it keeps files in memory; else ""."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    place, kinds = folder.resolve(), dict[Path, str]()
    for _, at, kind, *_ in map(str.split, lines):
        kinds[Path(at.replace("\\040", " "))] = kind  # the last one that is mounted there
    near = next((kinds[path] for path in (place, *place.parents) if path in kinds), "")
    return near if near in ("tmpfs", "ramfs") else ""


def usable_cores() -> int:
    """How many cores this thread may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    """As Linux has it; elsewhere what Python knows, which may be an architecture alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()
