"""Find a policy by name, by import path or in a file.

A name is a file of ``sim/predictors``, ``sim/prefetch``, ``sim/eviction`` or ``sim/misses``
(``least-stale`` is ``least_stale.py``); an import path (``my_package.my_policy``) is any module
that can be imported, from the working directory too, and a file (``my_policy.py``) is any that is
there. Both follow the same contract. Nothing is registered anywhere else.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
from prefetch_sim.sim.config.foreign import file_meant, find_module

# What a module of each kind must have.
CONTRACTS = {
    "predictors": ("Params", "Predictor"),
    "prefetch": ("propose",),
    "eviction": ("inserted", "used"),
    "misses": ("plan",),
}
# Where a config names one.
PLACES = {
    "cache.eviction": "eviction",
    "prefetch.policy": "prefetch",
    "misses": "misses",
    "predictor": "predictors",
}
_WORDS = {"predictors": "predictor", "misses": "miss policy"}  # where the folder's is another
# What it may have.
_OPTIONS = {
    "eviction": (
        "new_state",
        "begin",
        "evicted",
        "not_routed",
        "predicted",
        "spared",
        "victim",
        "kept",
    )
}
_RENAMED = {"eviction": {"passed": "not_routed"}}
_INTERNAL = {"base", "lists"}


def words(kind: str) -> str:
    """What a policy of ``kind`` is called in a sentence."""
    what = _WORDS.get(kind, kind)
    return what if what.endswith("policy") else f"{what} policy"


def is_of_this_package(module: str) -> bool:
    """Whether the module of that name is one of this package's policies."""
    return module.startswith("prefetch_sim.sim.")


@cache
def names(kind: str) -> tuple[str, ...]:
    """Names of the built-in policies of ``kind``, sorted."""
    package = importlib.import_module(f"prefetch_sim.sim.{kind}")
    found = (m.name for m in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(n.replace("_", "-") for n in found if n not in _INTERNAL))


def summary(kind: str, name: str) -> str:
    """First line of the policy's docstring."""
    return (find(kind, name).__doc__ or "").strip().splitlines()[0]


def find(kind: str, name: str, others: tuple[str, ...] = ()) -> ModuleType:
    """The module that implements ``name``.

    ``others`` are further names valid in this place (the trace's recorded predictors), only for
    the error's nearest match. Raises ConfigError where nothing has that name.
    """
    if name in names(kind):
        return importlib.import_module(f"prefetch_sim.sim.{kind}.{name.replace('-', '_')}")
    if "." in name:
        return _foreign(kind, name)
    hint = file_meant(name) or did_you_mean(name, [*names(kind), *others])
    raise ConfigError(f"unknown {_WORDS.get(kind, kind)} {name!r}{hint}")


def _foreign(kind: str, name: str) -> ModuleType:
    """The policy at an import path, or in a file."""
    what = words(kind)
    module = find_module(name, what, CONTRACTS[kind])
    for option in _OPTIONS.get(kind, ()):
        if not callable(getattr(module, option, callable)):
            raise ConfigError(f"{name!r} is no {what}: its {option!r} is no function")
    for old, new in _RENAMED.get(kind, {}).items():
        if hasattr(module, old):  # it would be left out without a word
            raise ConfigError(f"{name!r}: {old!r} of an {what} is called {new!r} now")
    if kind == "eviction" and hasattr(module, "victim") and not hasattr(module, "kept"):
        raise ConfigError(f"{name!r} is no {what}: it has 'victim' and no 'kept'")
    return module
