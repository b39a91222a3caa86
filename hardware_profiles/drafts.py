"""A machine's profile from a few numbers: the rest is taken from the nearest machine that is known.

The numbers are given by a user (`draft`), or were measured (`complete`). Here is also how profiles
are written.

Near is decided by the numbers given: the root of the summed squares of their logarithms'
distances, among the machines of the same kind (one memory, or a host behind a link), and of the
same vendor where a name or a chip tells it. A CPU goes with no GPU, so the nearest machine's is not
taken.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from prefetch_sim.hardware_profiles import (
    Chip,
    HardwareProfile,
    ProfileError,
    RuntimeProfile,
    list_profiles,
    load_profile,
    load_runtime,
    override,
)
from prefetch_sim.hardware_profiles.catalogue import load_part, sections_of
from prefetch_sim.hardware_profiles.paths import models_of
from prefetch_sim.hardware_profiles.schema import HOST_SECTIONS, Figure, Profile

GIVEN = "given by the user"
TAKEN = "taken from "  # begins the sources of what nobody said of this machine
# Of what host memory reads, that products of experts reach: 0.755 twice, and 0.94. The parts'
# 0.63 is of a datasheet's rate, of which reads reach some 0.85.
_CPU_SHARE, _CPU_DOUBT = 0.75, 0.25
_LEAST_UNCERTAINTY = 0.3  # of what another machine's profile says
# Figures that follow another one of the same machine where that one is given.
_FOLLOW = {
    "storage.stream_gb_s": "storage.gb_s",
    "compute.tflops.fp8": "compute.tflops.bf16",
    "compute.tflops.int4": "compute.tflops.bf16",
    "compute.tflops.mxfp4": "compute.tflops.bf16",
}
_CPU_RATE = "cpu.expert_gb_s.bf16"
_OF_CPU = ("cpu.", "contention.")
_USUAL_CPU = "ddr4-dual"  # where nothing is said of it
_VENDORS = {  # by what is in a machine's name, the first that fits
    "apple": r"\bm[1-9](?!\d)|\bi?mac(?:book)?(?:mini|studio|pro|air)?(?![a-z])|\bapple",
    "amd": r"\brx(?![a-z])|radeon|\bvega(?![a-z])|\bmi\d|instinct|strix",
    "intel": r"\barc(?:[ab]\d|(?![a-z]))",
    "nvidia": r"[rg]tx|geforce|quadro|tesla|\btitan(?!i)|jetson|\bspark|"
    r"\b(?:[aklpt]\d{1,4}|[bhmv]\d{2,4})(?!\d)",
}
_CHIPS = {"apple": "apple", "rdna": "amd", "arc": "intel", "cpu": "cpu"}  # others are NVIDIA's
# By which one machine is like another, where much was measured.
TELLING = (
    "compute.memory_gib",
    "compute.memory_gb_s",
    "compute.tflops.bf16",
    "host_link.gb_s",
    "storage.gb_s",
)


@dataclass(frozen=True)
class Draft:
    """A profile, and the machine that most of it is taken from."""

    profile: HardwareProfile
    like: str
    near: bool  # found to be the nearest, not asked for
    vendor: str | None = None  # whose it is known to be; the nearest is then of that vendor
    cpu: str | None = None  # of a CPU that nobody said anything of, where it is from


def draft(
    name: str,
    given: Mapping[str, float],
    *,
    unified: bool,
    like: str | None,
    chip: Chip | None = None,
) -> Draft:
    """A profile called ``name`` with the figures ``given``, by dotted path.

    ``cpu.expert_gb_s.bf16`` is what host memory reads. ``chip`` is this machine's own: figures of
    another one do not make it the same, but a name that tells Apple's does. Raises ProfileError.
    """
    given, whose = dict(given), vendor(name, chip)
    if chip is None and unified and whose == "apple":
        chip = "apple"  # there is no other of theirs
    if _CPU_RATE in given:
        given[_CPU_RATE] = float(f"{given[_CPU_RATE] * _CPU_SHARE:.3g}")
    near = like is None
    base = load_profile(_nearest(given, unified, of=whose) if like is None else like)
    if base.unified_memory is not unified:
        kind = "one memory" if base.unified_memory else "a host behind a link"
        raise ProfileError(f"--like {base.name}: it has {kind}, and this machine has not")
    for path in given:
        if path not in base.flat():
            raise ProfileError(f"--like {base.name}: it has no {path}, which was given")
    rest = f"{TAKEN}{base.name}, " + ("the nearest machine" if near else "as was asked for")
    cpu = cpu_rest = None
    if base.cpu is not None and _CPU_RATE not in given:
        cpu, cpu_rest = base.cpu.name or f"that of {base.name}", rest
        if near:
            base = base.model_copy(update=sections_of(load_part("cpu", _USUAL_CPU)))
            cpu, cpu_rest = _USUAL_CPU, f"{TAKEN}{_USUAL_CPU}, as no CPU was given"
    known = base.flat()
    figures = {}
    for path, figure in known.items():
        taken = cpu_rest if cpu_rest and path.startswith(_OF_CPU) else rest
        figures[path] = _taken(path, known, given, taken)
        if path in given:
            source = GIVEN
            if path == _CPU_RATE:
                source = (
                    f"{_CPU_SHARE:g} (0.755 to 0.94 measured) of what its memory reads, {GIVEN}"
                )
            figures[path] = _figure(path, given[path], source, figure.uncertainty)
    profile = override(base, {path: figure.model_dump() for path, figure in figures.items()})
    what = "one memory" if unified else "a host"
    own = {
        "name": name,
        "description": f"{name}: a machine with {what}, the rest as {base.name}",
        "chip": chip,
    }
    sections = {
        section: part.model_copy(update={"name": None})
        for section in ("cpu", "storage")
        if (part := getattr(profile, section)) is not None
    }
    return Draft(profile.model_copy(update=own | sections), base.name, near, whose, cpu)


def complete(
    name: str, description: str, measured: Mapping[str, Figure], *, unified: bool
) -> Draft:
    """A profile called ``name`` with all that was ``measured``, by dotted path.

    What is of a host is left out where there is one memory. Raises ProfileError.
    """
    own = {
        path: figure
        for path, figure in measured.items()
        if not (unified and path.split(".")[0] in HOST_SECTIONS)
    }
    given = {path: figure.value for path, figure in own.items()}
    telling = {path: given[path] for path in TELLING if path in given}
    like = _nearest(telling, unified)
    known = load_profile(like).flat()
    taken = dict.fromkeys(known, f"{TAKEN}{like}, the nearest machine")
    for section in dict.fromkeys(path.split(".")[0] for path in own):
        if not any(path.startswith(f"{section}.") for path in known):  # an optional one
            other = _nearest(telling, unified, having=section)
            more = load_profile(other).flat()
            more = {path: more[path] for path in more if path.startswith(f"{section}.")}
            known |= more
            taken |= dict.fromkeys(
                more, f"{TAKEN}{other}, the nearest machine that has a {section}"
            )
    figures = {
        path: own[path] if path in own else _taken(path, known, given, taken[path])
        for path in known | own
    }
    content = {"name": name, "description": description, "unified_memory": unified}
    return Draft(HardwareProfile.model_validate(content | _nested(figures)), like, True)


def complete_runtime(
    name: str, description: str, measured: Mapping[str, Figure], **how: Any
) -> RuntimeProfile:
    """A runtime's profile with all that was ``measured``; the rest costs nothing, as in `ideal`.

    ``how``: what else than figures it has of its own, such as ``kernels``.
    """
    ideal = load_runtime("ideal")
    rest = {
        path: _figure(path, figure.value, "not measured: as ideal", figure.uncertainty)
        for path, figure in ideal.flat().items()
    }
    kept = {
        key: value for key, value in ideal.model_dump().items() if key in _words(RuntimeProfile)
    }
    own = {"name": name, "description": description}
    return RuntimeProfile.model_validate(kept | own | how | _nested(rest | dict(measured)))


def _taken(
    path: str, known: Mapping[str, Figure], given: Mapping[str, float], taken: str
) -> Figure:
    """What another machine says, in proportion to what is known of this one."""
    figure = known[path]
    follows = _FOLLOW.get(path, "")
    if follows in given:
        value = float(f"{figure.value * given[follows] / known[follows].value:.3g}")
        return _figure(path, value, f"{taken}, in proportion to {follows}", figure.uncertainty)
    return _figure(path, figure.value, taken, figure.uncertainty)


def _figure(path: str, value: float, source: str, uncertainty: float) -> Figure:
    own = 0.0 if path.endswith("memory_gib") else _CPU_DOUBT if path == _CPU_RATE else 0.1
    if not source.endswith(GIVEN):
        own = max(_LEAST_UNCERTAINTY, uncertainty)
    return Figure(value=value, kind="estimate", source=source, uncertainty=own)


def _nested(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """By sections, of what stands by dotted path."""
    whole: dict[str, Any] = {}
    for path, figure in figures.items():
        *sections, leaf = path.split(".")
        node = whole
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = figure
    return whole


def vendor(name: str, chip: Chip | None = None) -> str | None:
    """Whose a machine is, where its chip or its name tells."""
    if chip is not None:
        return _CHIPS.get(chip, "nvidia")
    text = name.lower().replace("_", "-")
    return next((whose for whose, words in _VENDORS.items() if re.search(words, text)), None)


def _nearest(
    given: Mapping[str, float], unified: bool, *, having: str | None = None, of: str | None = None
) -> str:
    """Of the machines that have a section ``having``, and ``of`` a vendor where it has one."""

    def distance(machine: HardwareProfile) -> float:
        known = machine.flat()
        return math.hypot(
            *(math.log(value / known[path].value) for path, value in given.items() if path in known)
        )

    machines = [load_profile(name) for name in list_profiles()]
    alike = [
        machine
        for machine in machines
        if machine.unified_memory is unified and (having is None or getattr(machine, having))
    ]
    alike = [machine for machine in alike if of and vendor("", machine.chip) == of] or alike
    return min(alike, key=distance).name  # the first of several in the order of their names


def as_yaml(profile: Profile, notes: Sequence[str] = ()) -> str:
    """The profile as a file, a figure a line, like those of the catalogue; ``notes`` below."""
    words = {
        name: value
        for name in _words(type(profile))
        if (value := getattr(profile, name)) is not None
    }
    head = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in words.items()]
    return "\n".join([*head, *_lines(profile.flat()), *(f"# {note}" for note in notes)]) + "\n"


def _words(kind: type[Profile]) -> list[str]:
    """The keys of a profile that hold neither figures nor sections of them."""
    return [
        name
        for name, field in kind.model_fields.items()
        if not any(issubclass(one, BaseModel) for one in models_of(field.annotation))
    ]


def _lines(figures: Mapping[str, Figure]) -> Iterator[str]:
    open_sections: list[str] = []
    for path, figure in figures.items():
        *sections, leaf = path.split(".")
        for depth, section in enumerate(sections):
            if open_sections[: depth + 1] != sections[: depth + 1]:
                yield f"{'  ' * depth}{section}:"
                open_sections = sections[: depth + 1]
        source = json.dumps(figure.source, ensure_ascii=False)
        yield (
            f"{'  ' * len(sections)}{leaf}: {{value: {figure.value:.10g}, kind: {figure.kind}, "
            f"uncertainty: {figure.uncertainty:g}, source: {source}}}"
        )
