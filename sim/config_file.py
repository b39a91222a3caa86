"""Config files: reading, dotted paths, and one-line errors that name file, path and nearest key."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sim.config import RunConfig
from sim.errors import ConfigError, did_you_mean

Tree = dict[str, Any]


def read_yaml(path: str | Path) -> Tree:
    """A YAML file that is a mapping. Raises ConfigError naming the file."""
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{path}{where}: {problem}") from error
    if not isinstance(data, dict):
        kind = "empty" if data is None else f"a {type(data).__name__}"
        raise ConfigError(f"{path}: the config must be a mapping of keys, but it is {kind}")
    for key in data:
        if not isinstance(key, str):
            raise ConfigError(f"{path}: the key {key!r} is not a name")
    return data


def set_path(tree: Tree, path: str, value: Any) -> Tree:
    """``tree`` with the value at a dotted ``path`` replaced; the original is left alone.

    A bare name on the way becomes a mapping (``hardware: l4`` with ``hardware.host_link.gb_s``),
    and a number picks from a list (``predictor.0.recall``).
    """
    tree = copy.deepcopy(tree)
    node: Any = tree
    parts = path.split(".")
    if not all(parts):
        raise ConfigError(f"{path!r} is not a dotted path")
    for part, following in pairwise(parts):
        key = _key(node, part, path)
        child = node[key] if isinstance(node, list) else node.get(key)
        if isinstance(child, str) and not following.isdigit():
            child = {"name": child}
        elif child is None:
            child = {}
        elif not isinstance(child, dict | list):
            raise ConfigError(f"{path}: {part!r} is {child!r}, which has no keys")
        node[key] = child
        node = child
    node[_key(node, parts[-1], path)] = value
    return tree


def _key(node: Any, part: str, path: str) -> Any:
    if not isinstance(node, list):
        return part
    if not part.isdigit() or int(part) >= len(node):
        raise ConfigError(f"{path}: {part!r} is no index into a list of {len(node)}")
    return int(part)


def parse_assignment(text: str) -> tuple[str, Any]:
    """``"cache.capacity=25%"`` → path and value, the value read as YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {text!r}: write --set path=value")
    try:
        return path.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is not YAML") from error


def parse(tree: Tree, source: str) -> RunConfig:
    """A checked config. ``source`` is what the errors name: the file."""
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe(error, RunConfig)}") from error


def describe(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first problem of a validation error as ``path: what, nearest key``."""
    first = error.errors()[0]
    location = [p for p in first["loc"] if not _is_union_tag(p)]
    path = ".".join([prefix, *map(str, location)] if prefix else map(str, location))
    if first["type"] == "extra_forbidden":
        parent = _section(model, location[:-1])
        known = parent.model_fields if parent is not None else {}
        return f"{path}: unknown key{did_you_mean(str(location[-1]), known)}"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    if isinstance(given, str | int | float | bool) and repr(given) not in message:
        message += f", not {given!r}"
    return f"{path}: {message}" if path else message


def _is_union_tag(part: Any) -> bool:
    return isinstance(part, str) and part in {"str", "SyntheticTrace", "function-before"}


def _section(model: type[BaseModel], location: list[Any]) -> type[BaseModel] | None:
    """The model whose keys are valid at ``location``."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            return None
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        sections = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not sections:
            return None
        model = sections[0]
    return model
