"""Profiles of machines and of runtimes, by name: load, list, override.

A profile is a YAML file of this folder (a runtime: of `runtimes/`), or any other file of the same
shape (see `schema`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from prefetch_sim.hardware_profiles.schema import (
    Figure,
    HardwareProfile,
    Profile,
    RuntimeProfile,
    schema_paths,
)
from prefetch_sim.hardware_profiles.yaml_file import YamlError, read_yaml

__all__ = [
    "Figure",
    "HardwareProfile",
    "ProfileError",
    "RuntimeProfile",
    "list_profiles",
    "list_runtimes",
    "load_profile",
    "load_runtime",
    "override",
]

P = TypeVar("P", bound=Profile)

_FOLDER = Path(__file__).parent
_RUNTIMES = _FOLDER / "runtimes"
_FIGURE = tuple(Figure.model_fields)
# A figure's unit, by the end of its name; the others are numbers without one.
_UNITS = {
    "gb_s": "GB/s",
    "_us": "µs",
    ".us": "µs",
    "us_per_mib": "µs a MiB",
    "_gib": "GiB",
    "_mib": "MiB",
}
# Every chunk is an event, and no device moves less than a page at a time: smaller ones would only
# keep a run from ending. Not in the schema, as systems worked by hand have chunks of a few bytes.
_CHUNKS = {"host_link.chunk_mib", "storage.read_mib"}
_LEAST_CHUNK_MIB = 4 / 1024
_OVERRIDE_SOURCE = "override in the run's config"


class ProfileError(ValueError):
    """A profile that does not exist or does not hold; the message is one line for the user."""


@cache
def list_profiles() -> tuple[str, ...]:
    """Names of the machines that come with the project, sorted."""
    return _names(_FOLDER)


@cache
def list_runtimes() -> tuple[str, ...]:
    """Names of the runtimes that come with the project, sorted."""
    return _names(_RUNTIMES)


def load_profile(name_or_path: str | Path) -> HardwareProfile:
    """Read a machine's profile by catalogue name, or from a YAML file.

    Raises ProfileError naming the file and dotted path at fault, or the nearest known name.
    """
    return _load(HardwareProfile, str(name_or_path), _FOLDER, list_profiles())


def load_runtime(name_or_path: str | Path) -> RuntimeProfile:
    """Read a runtime's profile, likewise."""
    return _load(RuntimeProfile, str(name_or_path), _RUNTIMES, list_runtimes())


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _load(model: type[P], text: str, folder: Path, names: tuple[str, ...]) -> P:
    if text in names:
        path = folder / f"{text}.yaml"
    elif text.endswith((".yaml", ".yml")):
        path = Path(text)
    else:
        raise ProfileError(f"unknown {model.WHAT} {text!r}{_nearest(text, names)}")
    found: P = _read(model, path, path.stat().st_mtime_ns if path.exists() else 0)  # mypy sees Any
    return found


@lru_cache(maxsize=64)
def _read(model: type[P], path: Path, stamp: int) -> P:
    """Read once for all runs of a sweep; ``stamp`` makes an edited file a new one."""
    try:
        content = read_yaml(path)
    except YamlError as error:
        raise ProfileError(str(error)) from error
    return _validated(model, content, str(path))


def override(profile: P, changes: Mapping[str, Any]) -> P:
    """A copy of ``profile`` with figures replaced by dotted path, ``{"host_link.gb_s": 12.3}``.

    A plain number becomes an estimate whose source says that it was overridden; a mapping
    replaces what stands at the path as it is. Raises ProfileError for an unknown path (with
    the nearest known one) or a value that the schema refuses.
    """
    if not changes:
        return profile
    content, what = profile.model_dump(), f"{profile.WHAT} {profile.name!r}"
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        node: Any = content
        for part in parents:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or leaf not in node or "value" in node:
            raise ProfileError(f"{what} has no {path!r}{_why(profile, path)}")
        try:
            node[leaf] = _as_figure(path, value, node[leaf])
        except ValueError as error:
            raise ProfileError(f"{what}: {path}: {error}") from None
    return _validated(type(profile), content, f"{what} with overrides")


def _why(profile: Profile, path: str) -> str:
    """What is wrong with a path that ``profile`` does not have."""
    section = path.split(".", maxsplit=1)[0]
    unified = isinstance(profile, HardwareProfile) and profile.unified_memory
    if unified and section in ("host_link", "host"):
        return f": it has one memory, so no {section.replace('_', ' ')}"
    figure = next((known for known in profile.flat() if path.startswith(f"{known}.")), None)
    if figure is not None:
        return f": {figure} is one figure, give a number or all of {{{', '.join(_FIGURE)}}}"
    return _nearest(path, _paths(profile.model_dump()))


def _as_figure(path: str, value: Any, old: Any) -> Any:
    is_figure = old is None or (isinstance(old, dict) and "value" in old)
    if not is_figure or value is None or isinstance(value, dict):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        unit = next((f" in {unit}" for end, unit in _UNITS.items() if path.endswith(end)), "")
        raise ValueError(f"{value!r} is not a number{unit}")
    return {"value": value, "kind": "estimate", "source": _OVERRIDE_SOURCE, "uncertainty": 0.0}


def _validated(model: type[P], content: dict[Any, Any], where: str) -> P:
    try:
        profile = model.model_validate(content)
    except ValidationError as error:
        first, *others = error.errors()
        path = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown key{_nearest(path, schema_paths(model))}"
        elif first["type"] == "model_type" and first["ctx"]["class_name"] == Figure.__name__:
            message = f"expected {{{', '.join(_FIGURE)}}}, not {first['input']!r}"
        elif first["type"] == "model_type":
            message = f"expected a mapping of figures, not {first['input']!r}"
        more = f" (and {len(others)} more)" if others else ""
        raise ProfileError(f"{where}: {path + ': ' if path else ''}{message}{more}") from error
    figures = profile.flat()
    for path in _CHUNKS & figures.keys():
        if figures[path].value < _LEAST_CHUNK_MIB:
            raise ProfileError(
                f"{where}: {path}: {figures[path].value:g} MiB is less than a page of 4 KiB"
            )
    return profile


def _paths(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict) and "value" not in value:
            yield from _paths(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _nearest(given: str, known: Iterable[str]) -> str:
    names = list(known)
    # A name cut short is nearer to what it begins than to one of its own length.
    near = [name for name in names if given and name.startswith(given)]
    near = near or difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"
