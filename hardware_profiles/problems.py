"""Checks what a file, or a change, makes of a profile, and says in one line what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from prefetch_sim.hardware_profiles.paths import required_paths, schema_paths
from prefetch_sim.hardware_profiles.schema import Figure, HardwareProfile, Profile

P = TypeVar("P", bound=Profile)

FIGURE = tuple(Figure.model_fields)  # keys of a figure that is written out
# Every chunk is an event, and no device moves less than a page at a time: smaller ones would only
# keep a run from ending. Not in the schema, as systems worked by hand have chunks of a few bytes.
_CHUNKS = {"host_link.chunk_mib", "storage.read_mib"}
_LEAST_CHUNK_MIB = 4 / 1024
_MOST_NAMED, _LINE = 30, 200  # missing figures that one message names; letters of a list


class ProfileError(ValueError):
    """A profile that does not exist or does not hold; the message is one line for the user."""


def validated(model: type[P], content: Mapping[str, Any], where: str) -> P:
    """The profile that ``content`` is; ``where``: how messages call it. Raises ProfileError."""
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
            message = f"unknown key{nearest(path, schema_paths(model))}"
        elif problem["type"] == "model_type" and problem["ctx"]["class_name"] == Figure.__name__:
            message = f"expected {{{', '.join(FIGURE)}}}, not {problem['input']!r}"
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


def nearest(given: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the one that was meant, or all."""
    names = list(known)
    # A name cut short is nearer to what it begins than to one of its own length.
    near = [name for name in names if given and name.startswith(given)]
    near = near or difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"
