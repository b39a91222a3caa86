"""A machine as a config has it: of the catalogue, with parts put in and figures replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from prefetch_sim.hardware_profiles.catalogue import PARTS, load_part, load_profile, sections_of
from prefetch_sim.hardware_profiles.paths import schema_paths
from prefetch_sim.hardware_profiles.problems import FIGURE, ProfileError, nearest, validated
from prefetch_sim.hardware_profiles.schema import HOST_SECTIONS, HardwareProfile, Profile

P = TypeVar("P", bound=Profile)

_OPTIONAL = ("cpu", "contention")  # sections that `none` takes out of a machine
# A figure's unit, by the end of its name; the others are numbers without one.
_UNITS = {
    "gb_s": "GB/s",
    "_us": "µs",
    ".us": "µs",
    "us_per_mib": "µs a MiB",
    "_gib": "GiB",
    "_mib": "MiB",
}
_OVERRIDE_SOURCE = "override in the run's config"


def load_machine(name_or_path: str | Path, changes: Mapping[str, Any]) -> HardwareProfile:
    """The machine that a config describes: one by name, with parts put in, then figures replaced.

    ``changes`` as in ``override``; under ``cpu`` and ``storage`` also a part, a bare name or
    ``{"name": ...}`` with figures beside it, which replaces the section. A CPU brings its own
    contention, as that is of its memory. ``none`` takes a section out.
    """
    profile = load_profile(name_or_path)
    what, figures = f"{profile.WHAT} {profile.name!r}", dict(changes)
    for section in PARTS:
        if (path := f"{section}.name") in figures:
            given = figures.get(section, {})
            own = given if isinstance(given, Mapping) else {"name": given}
            figures[section] = {**own, "name": figures.pop(path)}
    parts: dict[str, Any] = {}
    for section in [section for section in (*PARTS, "contention") if section in figures]:
        given = figures[section]
        own = dict(given) if isinstance(given, Mapping) else {"name": given}
        if "name" not in own:
            continue
        name = own.pop("name")
        figures[section] = own
        if section in _OPTIONAL and name in (None, "none"):
            parts |= {section: None} | ({"contention": None} if section == "cpu" else {})
            if own:
                raise ProfileError(f"{what}: {section}: is none, so it has no {next(iter(own))!r}")
        elif section == "cpu" and profile.unified_memory:
            raise ProfileError(f"{what}: cpu: {_one_memory('cpu')}")
        elif section not in PARTS or not isinstance(name, str):
            raise ProfileError(f"{what}: {section}: {name!r} is no name, and no mapping of figures")
        else:
            try:
                parts |= sections_of(load_part(section, name))
            except ProfileError as error:
                raise ProfileError(f"{section}: {error}") from error
    return override(profile.model_copy(update=parts), figures)


def override(profile: P, changes: Mapping[str, Any]) -> P:
    """A copy of ``profile`` with figures replaced, ``{"host_link": {"gb_s": 12.3}}``.

    By nested keys or dotted ones. A plain number becomes an estimate whose source says that it was
    overridden; a figure written out, with its value, kind and source, stands as it is. Raises
    ProfileError for an unknown path (with the nearest known one) or a value that the schema
    refuses.
    """
    given = dict(_flatten(changes))
    if not given:
        return profile
    content, what = profile.model_dump(), f"{profile.WHAT} {profile.name!r}"
    known = set(schema_paths(type(profile), inside=False))
    for path, value in given.items():
        *parents, leaf = path.split(".")
        node: Any = content
        for depth, part in enumerate(parents, start=1):
            if node.get(part) is None and ".".join(parents[:depth]) in known:
                node[part] = {}  # an optional section that is not there: all of it has to be given
            node = node.get(part)
            if not isinstance(node, dict) or "value" in node:
                break
        unknown = not isinstance(node, dict) or "value" in node
        if unknown or path not in known or _impossible(profile, path):
            raise ProfileError(f"{what} has no {path!r}{_why(profile, path)}")
        try:
            node[leaf] = _as_figure(path, value, node.get(leaf))
        except ValueError as error:
            raise ProfileError(f"{what}: {path}: {error}") from None
    return validated(type(profile), content, f"{what} with overrides")


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """By dotted path. A figure written out stays whole."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and "value" not in value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _impossible(profile: Profile, path: str) -> str | None:
    """The section of ``path``, if a machine of this kind cannot have it."""
    section = path.split(".", maxsplit=1)[0]
    unified = isinstance(profile, HardwareProfile) and profile.unified_memory
    return section if unified and section in HOST_SECTIONS else None


def _one_memory(section: str) -> str:
    return f"it has one memory, so no {section.replace('_', ' ')}"


def _why(profile: Profile, path: str) -> str:
    """What is wrong with a path that ``profile`` does not have."""
    section = _impossible(profile, path)
    if section is not None:
        return f": {_one_memory(section)}"
    figure = next((known for known in profile.flat() if path.startswith(f"{known}.")), None)
    if figure is not None:
        return f": {figure} is one figure, give a number or all of {{{', '.join(FIGURE)}}}"
    return nearest(path, _paths(profile.model_dump()))


def _as_figure(path: str, value: Any, old: Any) -> Any:
    is_figure = old is None or (isinstance(old, dict) and "value" in old)
    if not is_figure or value is None or isinstance(value, dict):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        unit = next((f" in {unit}" for end, unit in _UNITS.items() if path.endswith(end)), "")
        raise ValueError(f"{value!r} is not a number{unit}")
    return {"value": value, "kind": "estimate", "source": _OVERRIDE_SOURCE, "uncertainty": 0.0}


def _paths(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict) and "value" not in value:
            yield from _paths(value, f"{prefix}{key}.")
        else:
            yield prefix + key
