"""A policy that is a Python object, as the module that the engines ask for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial, wraps
from keyword import iskeyword
from types import MethodType, ModuleType
from typing import Any

from prefetch_sim.experiments.api.function_predictor import FunctionParams, FunctionPredictor
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.source import meant_by
from prefetch_sim.sim.predictors.base import Predictor, PredictorParams
from prefetch_sim.sim.setup.arguments import MADE_BY, misfit, unmet

_ONE = {"prefetch": "propose", "misses": "plan"}  # contracts of one function

_known: dict[str, tuple[str, Any]] = {}  # kinds and objects by the name that they got


def module_of(policy: Any) -> ModuleType | None:
    """``policy``, if it is a module that a config can name by its import path."""
    if isinstance(policy, ModuleType) and "." in policy.__name__:
        return policy if sys.modules.get(policy.__name__) is policy else None
    return None


def is_function(policy: Any) -> bool:
    """Whether it is itself what is called, as a method or a partial is, and has no contract's."""
    asked = (needed for contract in registry.CONTRACTS.values() for needed in contract)
    return (
        callable(policy)
        and not inspect.isclass(policy)
        and not any(hasattr(policy, needed) for needed in asked)
    )


def name_of(kind: str, policy: Any) -> str:
    """A name under which a config finds ``policy``: the same for the same object in that place.

    ``kind``: a key of ``registry.CONTRACTS``. Raises ConfigError for what has not what its
    contract asks for.
    """
    if module_of(policy) is not None:
        return str(policy.__name__)
    # A method is another object each time that it is asked for.
    method = isinstance(policy, MethodType)
    there = (
        name
        for name, (of, known) in _known.items()
        if of == kind and (known == policy if method else known is policy)
    )
    name = next(there, None) or _free_name(policy)
    sys.modules[name] = _as_module(kind, policy, name)  # anew: it may have another attribute since
    _known[name] = kind, policy
    return name


def _as_module(kind: str, policy: Any, name: str) -> ModuleType:
    """A module of that ``kind`` and ``name`` which does as ``policy``. Raises ConfigError."""
    module = ModuleType(name, inspect.getdoc(_whole(policy)))
    if isinstance(policy, Predictor):
        raise ConfigError(
            f"{type(policy).__name__!r} is no predictor, but one of them: give the class"
        )
    if inspect.isclass(policy):
        _of_class(module, kind, policy)
    elif is_function(policy):
        _of_function(module, kind, policy)
    else:
        vars(module).update(_public(policy))
    what = registry.words(kind)
    for needed in registry.CONTRACTS[kind]:
        if not callable(getattr(module, needed, None)):
            hint = meant_by([needed], vars(module))
            raise ConfigError(f"{name!r} is no {what}: it has no {needed!r}{hint}")
    return module


def _whole(policy: Any) -> Any:
    """``policy``, or the function that it is a partial of, whose name and docstring it has."""
    while isinstance(policy, partial):
        policy = policy.func
    return policy


def _free_name(policy: Any) -> str:
    """``package.module.Name``, and a number behind where that is taken by another object."""
    policy = _whole(policy)
    own = policy if hasattr(policy, "__name__") else type(policy)
    name = str(own.__name__).rpartition(".")[2].strip("<>")
    where = getattr(own, "__module__", None) or "python"
    if where.startswith("prefetch_sim."):  # no part of the package, which engines may compile
        where = "python"
    usable = name.isidentifier() and not iskeyword(name)  # which lambda is
    first = full = f"{where}.{name if usable else 'policy'}"
    number = 1
    while full in _known or full in sys.modules:
        number += 1
        full = f"{first}_{number}"
    return full


def _public(policy: Any) -> dict[str, Any]:
    names = (name for name in dir(policy) if not name.startswith("_"))
    return {name: getattr(policy, name) for name in names}


def _of_class(module: ModuleType, kind: str, given: type) -> None:
    if kind == "predictors":
        if not issubclass(given, Predictor):
            raise ConfigError(f"{given.__name__!r} is no predictor: it inherits no Predictor")
        # A class of its own, as one of two of the same name must not pass for the other.
        own = type(given.__name__, (given,), {"__module__": module.__name__})
        vars(module).update(Params=getattr(given, "Params", PredictorParams), Predictor=own)
    elif kind == "eviction":
        vars(module).update({**_public(given), "new_state": _made_anew(given), MADE_BY: given})
        if "begin" in vars(module):
            vars(module)["begin"] = _going_on(vars(module)["begin"])
    elif needed := unmet(given):
        raise ConfigError(
            f"{given.__name__!r} is made with nothing, and its __init__ needs "
            f"{' and '.join(needed)}: give an instance"
        )
    else:
        vars(module).update(_public(given()))


def _made_anew(given: type) -> Callable[..., Any]:
    """``new_state`` of an eviction that is a class: an instance, given what it asks for."""
    asked = inspect.signature(given).parameters

    def new_state(experts: int, layers: int, seed: int, future: Any) -> Any:
        offered = {"experts": experts, "layers": layers, "seed": seed, "future": future}
        return given(**{name: value for name, value in offered.items() if name in asked})

    return new_state


def _going_on(begin: Callable[..., Any]) -> Callable[..., Any]:
    """``begin`` as a method, which need not return the state that it is of."""

    @wraps(begin)
    def begun(state: Any, rooms: Any) -> Any:
        begin(state, rooms)
        return state

    return begun


def _of_function(module: ModuleType, kind: str, function: Callable[..., Any]) -> None:
    vars(module).update(_public(function))
    if kind in _ONE:
        vars(module).update({_ONE[kind]: function, "TIMED": _timed(function, _ONE[kind])})
    elif kind == "predictors":
        if said := misfit(f"the predictor {module.__name__!r}", function, ["routed", "layer"]):
            raise ConfigError(said)
        for key in FunctionParams.model_fields:
            if inspect.isfunction(function) and hasattr(function, key):
                raise ConfigError(
                    f"{module.__name__!r} has {key!r} of its own, which nothing reads: it is a key "
                    f'beside the name, {{"name": {function.__name__}, "{key}": ...}}'
                )
        own = {"__module__": module.__name__, "function": (function,)}
        predictor = type("Predictor", (FunctionPredictor,), own)
        vars(module).update(Params=FunctionParams, Predictor=predictor)
    else:
        raise ConfigError(
            f"{module.__name__!r} is one function, and an eviction has "
            f"{' and '.join(registry.CONTRACTS[kind])}: give a class"
        )


def _timed(function: Callable[..., Any], called: str) -> bool:
    """Whether it says ``TIMED = True``, or the module or object whose ``called`` it is."""
    whole = _whole(function)
    home = getattr(whole, "__self__", sys.modules.get(str(getattr(whole, "__module__", None))))
    homes = [home] if getattr(home, called, None) == whole else []
    return any(getattr(one, "TIMED", False) for one in (function, whole, *homes))
