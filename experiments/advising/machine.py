"""Where it is to run: what was said of the machine, what is found here, what is assumed."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from prefetch_sim.experiments.advising.named import (
    MEMORY,
    card_name,
    described,
    known_cpu,
    part_called,
)
from prefetch_sim.experiments.advising.question import Question, rate
from prefetch_sim.hardware_profiles import (
    HardwareProfile,
    ProfileError,
    load_machine,
    load_profile,
)
from prefetch_sim.sim.calibration.machine import describe
from prefetch_sim.sim.config.files import Tree

GIB = 2**30
# Of a memory, what its system and other programs keep: at least 2 GiB. macOS lets the GPU have
# three quarters (iogpu.wired_limit_mb unset).
_SYSTEM, _LEAST_SYSTEM, _MACOS = 0.1, 2 * GIB, 0.25
How = Literal["said", "detected", "assumed"]


@dataclass(frozen=True)
class Taken:
    """One thing that the answer rests on, and where it is from."""

    what: str
    value: str
    how: How
    why: str = ""


class Machine(NamedTuple):
    hardware: Tree  # as a config has it
    profile: HardwareProfile
    host_bytes: int  # host memory that experts may have; 0 where there is one memory
    taken: tuple[Taken, ...]


class Here(NamedTuple):
    """What this machine says of itself; None where it does not."""

    gpu: str | None
    gpu_gib: float | None
    cpu: str
    ram: int


def here() -> Here:
    """This machine, from nvidia-smi or sysctl, and from its system."""
    found = describe()
    ram, cpu = round(found.host_gib * GIB), found.name
    if platform.system() == "Darwin":
        brand = _said_by("sysctl", "-n", "machdep.cpu.brand_string")
        return Here(brand, None, brand or cpu, ram)
    query = "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"
    line = (_said_by("nvidia-smi", *query) or "").partition("\n")[0]
    name, _, mib = line.rpartition(",")
    gib = None
    with suppress(ValueError):
        gib = float(round(float(mib) / 1024))
    return Here(name.strip() or None, gib, cpu, ram)


def _said_by(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def find(question: Question, look: Callable[[], Here] = here) -> Machine:
    """The machine of ``question``; ``look`` says what is here. Raises ProfileError.

    This machine is meant where no GPU is named, or the one that is here: then its host memory and
    CPU are taken as found. Another machine's are the catalogue's.
    """
    found = look()
    taken: list[Taken] = []
    if question.gpu is not None:
        name, size = card_name(question.gpu)
        taken.append(Taken("gpu", name, "said", _as(question.gpu, name)))
    elif found.gpu is None:
        raise ProfileError("gpu: none is found here; name a card or a machine: --gpu 'RTX 4090'")
    else:
        name, size = card_name(found.gpu)[0], found.gpu_gib
        taken.append(Taken("gpu", name, "detected", _as(found.gpu, name)))
    base = load_profile(name)
    is_here = question.gpu is None
    if not is_here and found.gpu is not None:
        with suppress(ProfileError):
            is_here = name == card_name(found.gpu)[0]
    changes: dict[str, Any] = {}
    if base.unified_memory:
        for what in ("cpu", "link"):
            if getattr(question, what) is not None:
                raise ProfileError(f"{what}: {name} has one memory, so there is none")
        changes |= _one_memory(question, base, size, found if is_here else None, taken)
    else:
        if is_here and not MEMORY.search(question.gpu or ""):
            changes |= _card(base, found.gpu_gib, "detected", taken)
        else:
            changes |= _card(base, size, "said", taken)
            if not is_here and question.gpu is not None:
                taken += _sold_with_others(question.gpu, base)
        changes |= _host(question, base, found, is_here, taken)
    changes |= _drive(question, base, taken)
    profile = load_machine(name, changes)
    usable = 0
    if profile.host is not None:
        usable = host_usable(profile.host.memory_gib.value * GIB)
    return Machine({"name": name, **changes}, profile, usable, tuple(taken))


def host_usable(nbytes: float) -> int:
    """Bytes of a host's memory that experts may have."""
    return _usable(nbytes, _SYSTEM)


def _usable(nbytes: float, share: float) -> int:
    return round(nbytes - max(share * nbytes, min(_LEAST_SYSTEM, nbytes / 2)))


def _one_memory(
    question: Question,
    base: HardwareProfile,
    size: float | None,
    found: Here | None,
    taken: list[Taken],
) -> dict[str, Any]:
    whole, how = base.compute.memory_gib.value * GIB, "assumed"
    if question.ram is not None or size is not None:
        whole, how = question.ram or (size or 0) * GIB, "said"
    elif found is not None:
        whole, how = found.ram, "detected"
    usable = _usable(whole, _MACOS if base.chip == "apple" else _SYSTEM)
    rest = f"of {_gib(whole)}, {how}; the system keeps the rest"
    taken.append(Taken("memory", _gib(usable), "assumed", rest))
    return {"compute": {"memory_gib": round(usable / GIB, 3)}}


def _card(
    base: HardwareProfile, size: float | None, how: How, taken: list[Taken]
) -> dict[str, Any]:
    if size in (None, base.compute.memory_gib.value):
        return {}
    rest = f"else as {base.name}, its memory as fast too"
    taken.append(Taken("vram", f"{size:g} GiB", how, rest))
    return {"compute": {"memory_gib": size}}


def _sold_with_others(text: str, base: HardwareProfile) -> list[Taken]:
    """What to say of a card that is sold with other memories too, where none was said."""
    if MEMORY.search(text) or described(text) is not None or not MEMORY.search(base.name):
        return []
    why = f"as {base.name}; if yours has another, say so: --gpu '{text} 8GB'"
    return [Taken("vram", f"{base.compute.memory_gib.value:g} GiB", "assumed", why)]


def _host(
    question: Question, base: HardwareProfile, found: Here, is_here: bool, taken: list[Taken]
) -> dict[str, Any]:
    assert base.host is not None
    assert base.host_link is not None
    given = question.gpu is not None and described(question.gpu) is not None
    usual = f"in {base.name}" if given else f"usual beside {base.name}"
    how: Literal["said", "assumed"] = "said" if given else "assumed"
    changes: dict[str, Any] = {}
    if question.ram is not None or is_here:
        ram = question.ram or found.ram
        taken.append(Taken("ram", _gib(ram), "said" if question.ram else "detected"))
        changes["host"] = {"memory_gib": round(ram / GIB, 3)}
    else:
        taken.append(Taken("ram", f"{base.host.memory_gib.value:g} GiB", how, usual))
    part = _cpu_of(base)
    if question.cpu is not None:
        part = part_called("cpu", question.cpu)
        taken.append(Taken("cpu", part, "said", _as(question.cpu, part)))
        changes["cpu"] = part
    elif is_here and (known := known_cpu(found.cpu)):
        taken.append(Taken("cpu", known, "detected", _as(found.cpu, known)))
        changes["cpu"] = known
    else:
        unknown = f"; {found.cpu} is in no list" if is_here else ""
        taken.append(Taken("cpu", part, how, usual + unknown))
    if question.link is None:
        why = usual if given else f"as {base.name}"
        taken.append(Taken("link", f"{base.host_link.gb_s.value:g} GB/s", how, why))
    else:
        taken.append(Taken("link", f"{question.link:g} GB/s", "said"))
        changes["host_link"] = {"gb_s": question.link}
    return changes


def _drive(question: Question, base: HardwareProfile, taken: list[Taken]) -> dict[str, Any]:
    if question.drive is None:
        named = base.storage.name or f"{base.storage.gb_s.value:g} GB/s"
        given = question.gpu is not None and described(question.gpu) is not None
        how: Literal["said", "assumed"] = "said" if given else "assumed"
        taken.append(Taken("drive", named, how, f"{'in' if given else 'as'} {base.name}"))
        return {}
    with suppress(ValueError):
        gb_s = rate(question.drive)
        taken.append(Taken("drive", f"{gb_s:g} GB/s", "said"))
        stream = min(gb_s, base.storage.stream_gb_s.value)
        return {"storage": {"gb_s": gb_s, "stream_gb_s": stream}}
    part = part_called("storage", question.drive)
    taken.append(Taken("drive", part, "said", _as(question.drive, part)))
    return {"storage": part}


def _cpu_of(base: HardwareProfile) -> str:
    """Its name, or what it does."""
    if base.cpu is None:
        return "none"
    speed = base.flat()["cpu.expert_gb_s.bf16"].value
    return base.cpu.name or f"of {speed:g} GB/s of experts"


def _as(text: str, name: str) -> str:
    return "" if text == name else f"for {text}"


def _gib(nbytes: float) -> str:
    return f"{nbytes / GIB:.3g} GiB"
