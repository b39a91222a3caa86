"""Profiles of machines, of their parts and of runtimes, by name: load, list, override.

A profile is a YAML file of this folder (a runtime: of `runtimes/`, a part: of `parts/`), or any
other file of the same shape (see `schema`). A machine's file may name a part where a section would
stand: `cpu: ddr4-dual`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from prefetch_sim.hardware_profiles.schema import (
    HOST_SECTIONS,
    CpuPart,
    Figure,
    HardwareProfile,
    Profile,
    RuntimeProfile,
    StoragePart,
    required_paths,
    schema_paths,
)
from prefetch_sim.hardware_profiles.yaml_file import YamlError, read_yaml
from prefetch_sim.traces.names import UnknownNameError, resolve

__all__ = [
    "PARTS",
    "CpuPart",
    "Figure",
    "HardwareProfile",
    "ProfileError",
    "RuntimeProfile",
    "StoragePart",
    "list_parts",
    "list_profiles",
    "list_runtimes",
    "load_any",
    "load_machine",
    "load_part",
    "load_profile",
    "load_runtime",
    "machine_name",
    "override",
    "part_name",
    "runtime_name",
]

P = TypeVar("P", bound=Profile)

_FOLDER = Path(__file__).parent
_RUNTIMES = _FOLDER / "runtimes"
# Sections of a machine that a part can stand for; its files are in the folder of that name.
PARTS: dict[str, type[CpuPart] | type[StoragePart]] = {"cpu": CpuPart, "storage": StoragePart}
_OPTIONAL = ("cpu", "contention")  # sections that `none` takes out of a machine
_FIGURE = tuple(Figure.model_fields)
_SUFFIXES = (".yaml", ".yml")
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
# Words of a name that tell no two machines or parts apart.
_IDLE = re.compile(
    r"nvidia|geforce|tesla|quadro|amd|radeon|intel|apple|qualcomm|r|tm|cores?|processor|cpu|gpu|"
    r"graphics|card|ssd|nvme|drive|hbm\d?e?|\d+tb|blackwell|workstation|edition"
)
_OVERRIDE_SOURCE = "override in the run's config"
_MOST_NAMED, _LINE = 30, 200  # missing figures that one message names; letters of a list


class ProfileError(ValueError):
    """A profile that does not exist or does not hold; the message is one line for the user."""


def list_profiles() -> tuple[str, ...]:
    """Names of the machines that come with the project, sorted."""
    return _names(_FOLDER)


def list_parts(section: str) -> tuple[str, ...]:
    """Names of the parts that can stand for a ``section``, sorted."""
    return _names(_parts(section))


def list_runtimes() -> tuple[str, ...]:
    """Names of the runtimes that come with the project, sorted."""
    return _names(_RUNTIMES)


def machine_name(text: str) -> str:
    """The catalogue's name of a machine as people write it: ``rtx-4090`` of ``GeForce RTX 4090``.

    Raises ProfileError where no machine has that name, or several have.
    """
    return _named(HardwareProfile.WHAT, text, _FOLDER)


def part_name(section: str, text: str) -> str:
    """Likewise of a part that can stand for a ``section``."""
    return _named(PARTS[section].WHAT, text, _parts(section))


def runtime_name(text: str) -> str:
    """Likewise of a runtime."""
    return _named(RuntimeProfile.WHAT, text, _RUNTIMES)


def load_profile(name_or_path: str | Path) -> HardwareProfile:
    """Read a machine's profile by catalogue name, or from a YAML file.

    Raises ProfileError naming the file and dotted path at fault, or the nearest known name.
    """
    return _load(HardwareProfile, str(name_or_path), _FOLDER)


def load_runtime(name_or_path: str | Path) -> RuntimeProfile:
    """Read a runtime's profile, likewise."""
    return _load(RuntimeProfile, str(name_or_path), _RUNTIMES)


def load_part(section: str, name_or_path: str | Path) -> CpuPart | StoragePart:
    """Read a part that can stand for a ``section``, likewise."""
    return _load(PARTS[section], str(name_or_path), _parts(section))


def load_any(name_or_path: str | Path) -> Profile:
    """Read a machine or a part, whichever it is."""
    text = str(name_or_path)
    if text.endswith(_SUFFIXES):
        content = _content(Path(os.path.expanduser(text)))
        kinds = [section for section in PARTS if section in content]
        whole = "unified_memory" in content or "compute" in content or len(kinds) != 1
        return load_profile(text) if whole else load_part(kinds[0], text)
    sections = {name: section for section in PARTS for name in list_parts(section)}
    name = _named(HardwareProfile.WHAT, text, _FOLDER, *map(_parts, PARTS))
    return load_part(sections[name], name) if name in sections else load_profile(name)


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
                parts |= _sections(load_part(section, name))
            except ProfileError as error:
                raise ProfileError(f"{section}: {error}") from error
    return override(profile.model_copy(update=parts), figures)


def _sections(part: CpuPart | StoragePart) -> dict[str, Any]:
    """What a part brings to a machine; each section says which part it is of."""
    if isinstance(part, CpuPart):
        cpu = part.cpu.model_copy(update={"name": part.name})
        return {"cpu": cpu, "contention": part.contention}
    return {"storage": part.storage.model_copy(update={"name": part.name})}


def _parts(section: str) -> Path:
    return _FOLDER / "parts" / section


@cache
def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _load(model: type[P], text: str, folder: Path) -> P:
    if text.endswith(_SUFFIXES):
        path = Path(os.path.expanduser(text))
    else:
        path = folder / f"{_named(model.WHAT, text, folder)}.yaml"
    content = _content(path)
    if model is HardwareProfile:
        content = _with_parts(content, path)
    return _validated(model, content, str(path))


def _named(what: str, text: str, *folders: Path) -> str:
    if any(text in _names(folder) for folder in folders):
        return text  # before any file is read
    known = {name: said for folder in folders for name, said in _vendors_names(folder).items()}
    try:
        return resolve(what, text, known, _IDLE)
    except UnknownNameError as error:
        raise ProfileError(str(error)) from None


@cache
def _vendors_names(folder: Path) -> dict[str, str]:
    """How vendors call the entries of a folder: descriptions begin with it."""
    found = {}
    for name in _names(folder):
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
        said = text.partition("\ndescription: ")[2].partition("\n")[0]
        plain = re.sub(r"\(.*?\)", "", said)
        found[name] = re.split(r",| in | on | with | at ", plain)[0]
    return found


def _content(path: Path) -> Mapping[str, Any]:
    try:
        return _read(path, path.stat().st_mtime_ns if path.exists() else 0)
    except YamlError as error:
        raise ProfileError(str(error)) from error


@lru_cache(maxsize=128)
def _read(path: Path, stamp: int) -> dict[str, Any]:
    """Read once for all runs of a sweep; ``stamp`` makes an edited file a new one."""
    return read_yaml(path)


def _with_parts(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A machine's file with its parts in place. A part's file is looked for beside it."""
    whole = dict(content)
    for section in PARTS:
        name = content.get(section)
        if not isinstance(name, str):
            continue
        where = str(path.parent / name) if name.endswith(_SUFFIXES) else name
        try:
            found = _sections(load_part(section, where))
        except ProfileError as error:
            raise ProfileError(f"{path}: {section}: {error}") from error
        # What the file says itself goes before what a part brings beside its section.
        whole = whole | {k: v for k, v in found.items() if k == section or k not in content}
    return whole


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
    return _validated(type(profile), content, f"{what} with overrides")


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


def _validated(model: type[P], content: Mapping[str, Any], where: str) -> P:
    try:
        profile = model.model_validate(content)
    except ValidationError as error:
        raise ProfileError(f"{where}: {_problems(model, content, error)}") from error
    figures = profile.flat()
    for path in _CHUNKS & figures.keys():
        if figures[path].value < _LEAST_CHUNK_MIB:
            raise ProfileError(
                f"{where}: {path}: {figures[path].value:g} MiB is less than a page of 4 KiB"
            )
    return profile


def _problems(model: type[Profile], content: Mapping[str, Any], error: ValidationError) -> str:
    """Everything that is missing, by its path, and the first thing that is wrong."""
    missing: list[str] = []
    if model is HardwareProfile and content.get("unified_memory") is False:
        for section in ("host_link", "host"):  # optional to the schema
            missing += [] if content.get(section) else required_paths(model, section)
    wrong: list[str] = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            missing += required_paths(model, path)
            continue
        if not path and missing:  # a section is missing, which is said already
            continue
        if problem["type"] == "extra_forbidden":
            message = f"unknown key{_nearest(path, schema_paths(model))}"
        elif problem["type"] == "model_type" and problem["ctx"]["class_name"] == Figure.__name__:
            message = f"expected {{{', '.join(_FIGURE)}}}, not {problem['input']!r}"
        elif problem["type"] == "model_type":
            message = f"expected a mapping of figures, not {problem['input']!r}"
        wrong.append(f"{path}: {message}" if path else message)
    said = wrong[:1]
    if missing:
        cut = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        said.insert(0, f"missing: {_listed(missing[:_MOST_NAMED])}{cut}")
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return "; ".join(said) + more


def _listed(paths: list[str]) -> str:
    """In one line that can be read: many are put together by section, ``host.{memory_gib}``."""
    plain = ", ".join(paths)
    if len(plain) <= _LINE:
        return plain
    sections: dict[str, list[str]] = {}
    for path in paths:
        section, _, rest = path.partition(".")
        sections.setdefault(section, []).append(rest)
    return ", ".join(
        f"{section}.{{{', '.join(found)}}}" if any(found) else section
        for section, found in sections.items()
    )


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
