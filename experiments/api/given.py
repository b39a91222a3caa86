"""Python objects in a config where YAML has a name: policies, traces, paths, numpy's numbers.

Engines find a policy as a module by its name. So an object becomes a module, under the name that
it has in Python (``__main__.MostRecent``), with what its contract asks for: the functions of a
module or of an object as they are; a class, which is made anew for each cache and is then what an
eviction remembers; or one function, where the contract has one. A trace becomes a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from prefetch_sim.experiments.api.modules import module_of, name_of
from prefetch_sim.experiments.api.traces import trace_file
from prefetch_sim.experiments.text import one_line
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree, read_config, spelled
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.trace import Trace

Config = str | os.PathLike[str] | Mapping[str, Any] | RunConfig
Overrides = Mapping[str, Any] | None

_NAMES = ("name", "policy")  # keys of a mapping in such a place that hold the name

_OPTION = re.compile(r"(?<![\w-])--(a|b|x|y|by|where|kind|size|label|format|out)\b")
_CALLED = {"label": "labels"}  # arguments that have another name than their option


def need(held: bool, name: str, what: str, value: Any) -> None:
    """Raise ConfigError unless ``held``: the argument ``name`` is ``what``, and not ``value``."""
    if not held:
        raise ConfigError(one_line(f"{name}: give {what}, not {shown(value)}"))


@contextmanager
def as_arguments() -> Iterator[None]:
    """While a command's work is done: its errors name arguments, ``size``, and no ``--size``."""
    try:
        yield
    except ConfigError as error:
        said = _OPTION.sub(lambda option: _CALLED.get(option[1], option[1]), str(error))
        if said == str(error):
            raise
        raise ConfigError(said) from error


def need_path(name: str, value: Any) -> None:
    """Raise ConfigError unless ``value`` is a path, or None."""
    is_path = value is None or (isinstance(value, str | os.PathLike) and os.fspath(value) != "")
    need(is_path, name, "a path", value)


def read(config: Config) -> tuple[Tree, str]:
    """A config as YAML would have it, and what its errors name. Raises ConfigError."""
    if isinstance(config, RunConfig):
        return config.model_dump(exclude_unset=True), "config"
    if isinstance(config, Mapping):
        return dict(config), "config"
    if isinstance(config, str | os.PathLike):
        return read_config(os.fspath(config)), os.fspath(config)
    raise ConfigError(f"a config is a file, a mapping or a RunConfig, not {config!r}")


def changes(overrides: Overrides, keys: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Values by dotted path, from ``overrides`` and, for paths without a dot, ``keys``."""
    if not isinstance(overrides, Mapping | None):
        raise ConfigError(
            f"overrides are a mapping, as {{'cache.capacity': '50%'}}, not {overrides!r}"
        )
    found = {**(overrides or {}), **keys}
    for path in found:
        if not isinstance(path, str):
            raise ConfigError(f"{path!r} is not a dotted path")
    return list(found.items())


def named(tree: Tree) -> tuple[Tree, list[str]]:
    """``tree``, a config or a sweep, as YAML would have it; and where policies were objects.

    Raises ConfigError for an object that is none of what its place asks for.
    """
    objects: list[str] = []

    def told(path: str, value: Any) -> Any:
        value = _plain(value)
        if path == "trace" and hasattr(value, "columns"):
            raise ConfigError(
                "trace: a DataFrame names no model: give load_trace(frame, model=...)"
            )
        bare = path == "prefetch" and not isinstance(value, Mapping)
        kind = registry.PLACES.get("prefetch.policy" if bare else path)
        if isinstance(value, Mapping):
            return {key: told(_below(path, key), part) for key, part in value.items()}
        if kind is not None and isinstance(value, list):
            return [told(path, one) for one in value]
        if kind is None or value is None or isinstance(value, str | int | float):
            return value
        if module_of(value) is None:
            objects.append(path)
        try:
            return name_of(kind, value)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    changed = {key: told(key, value) for key, value in tree.items() if key != "sweep"}
    if "sweep" in tree:
        changed["sweep"] = _axes(tree["sweep"], told)
    return changed, objects


def _axes(sweep: Any, told: Callable[[str, Any], Any]) -> Any:
    """The axes of a sweep, or of each of its blocks."""
    if isinstance(sweep, list | tuple):
        return [_axes(block, told) for block in sweep]
    if not isinstance(sweep, Mapping):
        return sweep
    axes = {}
    for path, given in sweep.items():
        place = spelled(path) if isinstance(path, str) else ""
        place = "misses" if place == "misses.policy" else place.removesuffix(".name")
        values = _plain(given)
        axes[path] = (
            [told(place, value) for value in values] if isinstance(values, list) else values
        )
    return axes


def _below(path: str, key: Any) -> str:
    """The place of ``key`` in a mapping at ``path``; a policy's own name is in its place."""
    return path if path in registry.PLACES and key in _NAMES else f"{path}.{key}"


def _plain(value: Any) -> Any:
    """What YAML has in its stead, where that is plain."""
    if isinstance(value, Trace):
        return str(trace_file(value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple | range) else value
