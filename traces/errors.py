"""Errors in one line: where, what, and what was probably meant."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_SHOWN = 60  # characters of a value that an error shows
_FEW, _LARGE = 8, 1e30  # parts of a list that is shown, and how large numbers in it are
_MOST_PLACES = 3  # of a key: one that is in more says nothing of where it was meant to be


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``"; did you mean 'lru'?"``, or the known names where none is near."""
    names = sorted(known)
    near = get_close_matches(given, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def looked_for(path: str | Path) -> str:
    """``"; looked for /home/me/box.yaml"`` of a path that does not say so itself."""
    return "" if os.path.isabs(path) else f"; looked for {os.path.abspath(path)}"


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line that is not long."""
    lines = str(error).splitlines() or [type(error).__name__]
    return " ".join(lines[0].split())[:200]


def needs(package: str, extra: str) -> str:
    """What an error says where an optional package is not installed."""
    return f"needs {package}: pip install -e '.[{extra}]' in the clone"


def shown(value: Any) -> str:
    """``value`` as an error shows it: as Python writes it, cut where it is long."""
    if isinstance(value, dict) or (isinstance(value, list) and not _is_short(value)):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]}…{text[-1]}"


def _is_short(values: list[Any]) -> bool:
    """A few texts and numbers, which can be shown whole."""
    return len(values) <= _FEW and all(
        isinstance(one, str) or (isinstance(one, int | float) and abs(one) < _LARGE)
        for one in values
    )


def describe(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first problem of validating ``model`` as ``path: what``, its path below ``prefix``.

    Of keys that are missing all beside it and below, and the first that is not known there: it may
    be one of them under another name.
    """
    first, *others = error.errors()
    if first["type"] != "missing":
        return _problem(first, model, prefix)
    above = first["loc"][:-1]
    near = [first, *(one for one in others if one["loc"][: len(above)] == above)]
    lacking = [_path(one, model, prefix) for one in near if one["type"] == "missing"]
    unknown = [_problem(one, model, prefix) for one in near if one["type"] == "extra_forbidden"]
    alone = _problem(first, model, prefix)
    return "; ".join([f"missing: {', '.join(lacking)}" if lacking[1:] else alone, *unknown[:1]])


def _path(found: ErrorDetails, model: type[BaseModel], prefix: str) -> str:
    parts, _ = _locate(model, found["loc"], False)
    return ".".join([prefix, *parts] if prefix else parts)


def _problem(found: ErrorDetails, model: type[BaseModel], prefix: str) -> str:
    unknown = found["type"] == "extra_forbidden"
    parts, known = _locate(model, found["loc"], unknown)
    path = ".".join([prefix, *parts] if prefix else parts)
    if unknown:
        return f"{path}: unknown key{_meant(parts, known, model)}"
    message = found["msg"].removeprefix("Value error, ")
    given = found.get("input")
    if isinstance(given, str | int | float | bool) and repr(given) not in message:
        message += f", not {given!r}"
    return f"{path}: {message}" if path else message


def _meant(parts: list[str], known: list[str], model: type[BaseModel]) -> str:
    """As ``did_you_mean``, of a key that may belong elsewhere in ``model``: then by its path.

    ``known``: the keys beside it.
    """
    places: dict[str, list[str]] = defaultdict(list)
    for path in _paths(model):
        places[path.rpartition(".")[2]].append(path)
    *above, key = parts
    first, *rest = key.split(".")
    if rest and first in known:
        return f"; dots do not nest here: write {first}: {{{': {'.join(rest)}: …{'}' * len(rest)}"
    here = places.get(key, [])
    if 0 < len(here) <= _MOST_PLACES:
        return f"; did you mean {' or '.join(map(repr, here))}?"
    if not above:
        deep = {last: paths[0] for last, paths in places.items() if len(paths) <= _MOST_PLACES}
        deep |= {name: name for name in known}
        near = get_close_matches(key, deep, n=1, cutoff=0.6)
        if near:
            return f"; did you mean {deep[near[0]]!r}?"
    return did_you_mean(key, known)


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted path of every key."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for nested in _models(field.annotation):
            yield from _paths(nested, f"{prefix}{name}.")


def _locate(
    model: type[BaseModel], location: tuple[int | str, ...], unknown: bool
) -> tuple[list[str], list[str]]:
    """The keys of ``location``, and those that are known where it ends.

    Pydantic also puts the name of a union's member there, which is no key.
    """
    parts: list[str] = []
    models, in_union = [model], False
    for part in location:
        fields = {name: field for m in models for name, field in m.model_fields.items()}
        if part in fields:
            annotation = fields[str(part)].annotation
            models = list(_models(annotation))
            in_union = get_origin(annotation) in (Union, UnionType)
        elif in_union and isinstance(part, str) and not (unknown and part is location[-1]):
            continue
        parts.append(str(part))
    return parts, [name for m in models for name in m.model_fields]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
