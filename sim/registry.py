"""Find a policy by name or by import path.

A name is a file of ``sim/predictors``, ``sim/prefetch`` or ``sim/eviction`` (``least-stale`` is
``least_stale.py``); an import path (``my_package.my_policy``) is any importable module that
follows the same contract. Nothing is registered anywhere else.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from sim.errors import ConfigError, did_you_mean

KINDS = ("predictors", "prefetch", "eviction")
_INTERNAL = {"base"}


def names(kind: str) -> list[str]:
    """Names of the built-in policies of ``kind``, sorted."""
    package = importlib.import_module(f"sim.{kind}")
    found = (m.name for m in pkgutil.iter_modules(package.__path__))
    return sorted(n.replace("_", "-") for n in found if n not in _INTERNAL)


def summary(kind: str, name: str) -> str:
    """First line of the policy's docstring."""
    return (find(kind, name).__doc__ or "").strip().splitlines()[0]


def find(kind: str, name: str, others: tuple[str, ...] = ()) -> ModuleType:
    """The module that implements ``name``.

    ``others`` are further names valid in this place (the trace's recorded predictors), only for
    the error's nearest match. Raises ConfigError where nothing has that name.
    """
    if name in names(kind):
        return importlib.import_module(f"sim.{kind}.{name.replace('-', '_')}")
    if "." in name:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(f"cannot import {kind} policy {name!r}: {error}") from error
    hint = did_you_mean(name, [*names(kind), *others])
    raise ConfigError(f"unknown {kind.removesuffix('s')} {name!r}{hint}")
