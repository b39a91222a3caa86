"""Config files: reading, dotted paths, and one-line errors that name file, path and nearest key."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from prefetch_sim.hardware_profiles import yaml_file
from prefetch_sim.sim.config.choices import HARDWARE, RUNTIME
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.paths import seen_from_here
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.traces.errors import describe

Tree = dict[str, Any]


def read_yaml(path: str | Path) -> Tree:
    """A YAML file that is a mapping. Raises ConfigError naming the file."""
    try:
        return yaml_file.read_yaml(path)
    except yaml_file.YamlError as error:
        raise ConfigError(str(error)) from error


def read_config(path: str | Path) -> Tree:
    """A config's file, its paths as the working directory sees them. Raises ConfigError."""
    return seen_from_here(read_yaml(path), Path(path).parent)


# Keys that take a name, whose mapping is the name and what goes with it; the name that is meant
# where none is given.
_NAMED: dict[str, str | None] = {
    "hardware": HARDWARE,
    "hardware.cpu": None,
    "hardware.storage": None,
    "runtime": RUNTIME,
    "cache.eviction": RunConfig().cache.eviction.name,
    "predictor": None,
    "precision": None,
    "model": None,
    "misses": None,
    "prefetch": None,
}
_POLICY = {"misses", "prefetch"}  # of these, those whose name is called ``policy``


def spelled(path: str) -> str:
    """The one spelling of a dotted path: ``hardware.gpu`` is ``hardware.name``."""
    return "hardware.name" if path == "hardware.gpu" else path


def set_path(tree: Tree, path: str, value: Any) -> Tree:
    """``tree`` with the value at a dotted ``path`` replaced; the original is left alone.

    A bare name on the way becomes a mapping (``hardware: l4`` with ``hardware.host_link.gb_s``),
    as does the default where there is none, and a number picks from a list
    (``predictor.0.recall``).
    """
    path = spelled(path)
    tree = copy.copy(tree)  # and what stands on the way; all else is shared
    node: Any = tree
    parts = path.split(".")
    if not all(parts):
        raise ConfigError(f"{path!r} is not a dotted path")
    for depth, part in enumerate(parts[:-1], start=1):
        key = _key(node, part, path)
        child = node[key] if isinstance(node, list) else node.get(key)
        where = ".".join(p for p in parts[:depth] if not is_index(p))
        if child is None:
            default = _NAMED.get(where)
            child = {"name": default} if default else {}
        elif isinstance(child, str) and where in _NAMED and not is_index(parts[depth]):
            child = {"policy" if where in _POLICY else "name": child}
        elif not isinstance(child, dict | list):
            given = ".".join(parts[:depth])
            raise ConfigError(f"{path}: {given} is {child!r}, which has no keys; set it as a whole")
        else:
            child = copy.copy(child)
        if path == "hardware.name" and isinstance(child, dict):
            child.pop("gpu", None)  # the same by another word; copied above
        node[key] = child
        node = child
    node[_key(node, parts[-1], path)] = value
    return tree


def is_index(part: str) -> bool:
    """Whether ``part`` of a dotted path may be a place in a list."""
    return part.isascii() and part.isdigit() and len(part) < 10


def _key(node: Any, part: str, path: str) -> Any:
    if not isinstance(node, list):
        return part
    if not is_index(part) or int(part) >= len(node):
        raise ConfigError(f"{path}: {part!r} is no index into a list of {len(node)}")
    return int(part)


def parse_assignment(text: str, option: str = "--set") -> tuple[str, Any]:
    """``"cache.capacity=25%"`` → path and value, the value read as YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"{option} {text!r}: write {option} path=value")
    try:
        return path.strip(), yaml_file.parse_yaml(value)
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or error
        raise ConfigError(
            f"{option} {text!r}: not YAML ({problem}); are quotes missing?"
        ) from error


def parse(tree: Tree, source: str) -> RunConfig:
    """A checked config. ``source`` is what the errors name: the file."""
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe(error, RunConfig)}") from error
