"""A machine's profile from a few numbers: the rest is taken from the nearest machine that is known.

Near is decided by the numbers given alone: the root of the summed squares of their logarithms'
distances, among the machines of the same kind (one memory, or a host behind a link).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefetch_sim.hardware_profiles import (
    HardwareProfile,
    ProfileError,
    list_profiles,
    load_profile,
    override,
)
from prefetch_sim.hardware_profiles.schema import Figure

GIVEN = "given by the user"
_CPU_SHARE = 0.75  # of what host memory reads, that products of experts reach
_LEAST_UNCERTAINTY = 0.3  # of what another machine's profile says
# Figures that follow another one of the same machine where that one is given.
_FOLLOW = {
    "storage.stream_gb_s": "storage.gb_s",
    "compute.tflops.fp8": "compute.tflops.bf16",
    "compute.tflops.int4": "compute.tflops.bf16",
    "compute.tflops.mxfp4": "compute.tflops.bf16",
}
_CPU_RATE = "cpu.expert_gb_s.bf16"


@dataclass(frozen=True)
class Draft:
    """A profile, and the machine that most of it is taken from."""

    profile: HardwareProfile
    like: str
    near: bool  # found to be the nearest, not asked for


def draft(name: str, given: Mapping[str, float], *, unified: bool, like: str | None) -> Draft:
    """A profile called ``name`` with the figures ``given``, by dotted path.

    ``cpu.expert_gb_s.bf16`` is what host memory reads. Raises ProfileError.
    """
    given = dict(given)
    if _CPU_RATE in given:
        given[_CPU_RATE] = float(f"{given[_CPU_RATE] * _CPU_SHARE:.3g}")
    near = like is None
    base = load_profile(_nearest(given, unified) if like is None else like)
    if base.unified_memory is not unified:
        kind = "one memory" if base.unified_memory else "a host behind a link"
        raise ProfileError(f"--like {base.name}: it has {kind}, and this machine has not")
    known = base.flat()
    for path in given:
        if path not in known:
            raise ProfileError(f"--like {base.name}: it has no {path}, which was given")
    taken = f"taken from {base.name}, " + ("the nearest machine" if near else "as was asked for")
    figures = {}
    for path, figure in known.items():
        value, source = figure.value, taken
        if path in given:
            value, source = given[path], GIVEN
            if path == _CPU_RATE:
                source = f"{_CPU_SHARE:g} of what host memory reads, {GIVEN}"
        elif path in _FOLLOW and _FOLLOW[path] in given:
            value = float(f"{value * given[_FOLLOW[path]] / known[_FOLLOW[path]].value:.3g}")
            source = f"{taken}, in proportion to {_FOLLOW[path]}"
        figures[path] = _figure(path, value, source, figure.uncertainty)
    profile = override(base, figures)
    what = "one memory" if unified else "a host"
    own = {"name": name, "description": f"{name}: a machine with {what}, the rest as {base.name}"}
    sections = {
        section: part.model_copy(update={"name": None})
        for section in ("cpu", "storage")
        if (part := getattr(profile, section)) is not None
    }
    return Draft(profile.model_copy(update=own | sections), base.name, near)


def _figure(path: str, value: float, source: str, uncertainty: float) -> dict[str, Any]:
    own = 0.0 if path.endswith("memory_gib") else 0.1
    if source != GIVEN:
        own = max(_LEAST_UNCERTAINTY, uncertainty)
    return {"value": value, "kind": "estimate", "source": source, "uncertainty": own}


def _nearest(given: Mapping[str, float], unified: bool) -> str:
    def distance(machine: HardwareProfile) -> float:
        known = machine.flat()
        return math.hypot(
            *(math.log(value / known[path].value) for path, value in given.items() if path in known)
        )

    machines = [load_profile(name) for name in list_profiles()]
    alike = [machine for machine in machines if machine.unified_memory is unified]
    return min(alike, key=distance).name  # the first of several in the order of their names


def as_yaml(profile: HardwareProfile) -> str:
    """The profile as a file, a figure a line, like those of the catalogue."""
    head = [
        f"name: {json.dumps(profile.name, ensure_ascii=False)}",
        f"description: {json.dumps(profile.description, ensure_ascii=False)}",
        f"unified_memory: {json.dumps(profile.unified_memory)}",
    ]
    return "\n".join([*head, *_lines(profile.flat())]) + "\n"


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
