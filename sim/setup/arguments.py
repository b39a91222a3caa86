"""Holds functions of policies to what they are called with: told before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from prefetch_sim.sim.config.foreign import BrokenContractError
from prefetch_sim.sim.config.registry import is_of_this_package

Hook = Callable[..., Any]

_ONE = "state, x, now, score"
HOOKS = {
    "eviction": {
        "inserted": "state, x, now",
        "used": _ONE,
        "evicted": _ONE,
        "not_routed": _ONE,
        "predicted": _ONE,
        "spared": _ONE,
        "begin": "state, rooms",
        "new_state": "experts, layers, seed, future",
        "victim": "state, p, now",
        "kept": "state, x, now",
    },
    "prefetch": {
        "propose": "ids, scores, tokens, limits, resident, seen, stamp, out, priority",
    },
    "misses": {"plan": "count, cpu_ns, state, layer, chosen"},
    "predictors": {"Predictor": "params, context"},
}
# Of a Predictor.
METHODS = {"table": "self", "predict": "self, step, target", "observe": "self, step, layer"}
# What an eviction that is a class is made with: those of them that it asks for, by name.
OFFERED = ("experts", "layers", "seed", "future")
MADE_BY = "__init__"  # the name under which the module of such a class has it


def hold_arguments(kind: str, module: ModuleType) -> None:
    """Raises BrokenContractError where a function of ``module`` does not take what it is told.

    The line says where that function is. What tells no arguments, as a compiled extension does, is
    held to none.
    """
    for name, hook, given in _called(kind, module):
        if said := misfit(name, hook, given):
            raise BrokenContractError(kind, f"{said}{_cure(kind, hook, given)}{_at(hook)}")
    if isinstance(made := vars(module).get(MADE_BY), type) and (lacks := unmet(made, OFFERED)):
        said = f"__init__ needs {' and '.join(lacks)}, and may ask for {', '.join(OFFERED)} alone"
        raise BrokenContractError(kind, f"{said}{_at(made)}")


def misfit(name: str, hook: Hook, given: list[str]) -> str | None:
    """How the arguments of ``hook`` differ from those that it is called with; None: they fit."""
    own = _parameters(hook)
    if own is None or _suits(own, given):
        return None
    taken = ", ".join(own.parameters)
    return f"{name} takes ({taken}) and is called with ({', '.join(given)}), in that order"


def unmet(given: type, offered: tuple[str, ...] = ()) -> list[str]:
    """The arguments that a class needs beside those ``offered``."""
    own = _parameters(given)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, one in (own.parameters if own else {}).items()
        if one.default is one.empty and one.kind not in several and name not in offered
    ]


def _called(kind: str, module: ModuleType) -> Iterator[tuple[str, Hook, list[str]]]:
    """Each hook that ``module`` has: its name, itself and what it is called with."""
    for name, told in HOOKS[kind].items():
        if callable(hook := getattr(module, name, None)):
            yield name, hook, told.split(", ")
    predictor = getattr(module, "Predictor", None) if kind == "predictors" else None
    for name, told in METHODS.items():
        if callable(hook := getattr(predictor, name, None)):
            kept = inspect.getattr_static(predictor, name)
            bound = isinstance(kept, staticmethod | classmethod)
            yield f"Predictor.{name}", hook, told.split(", ")[bound:]


def _parameters(hook: Hook) -> inspect.Signature | None:
    try:
        return inspect.signature(hook)
    except (TypeError, ValueError):  # of a compiled extension, which says nothing
        return None


def _suits(own: inspect.Signature, given: list[str]) -> bool:
    """Whether it can be called so, and has none of the names in the place of another."""
    try:
        own.bind(*given)
    except TypeError:
        return False
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    taken = [name for name, one in own.parameters.items() if one.kind in by_place]
    return all(name == told or name not in given for name, told in zip(taken, given))


def _cure(kind: str, hook: Hook, given: list[str]) -> str:
    """What to do where an eviction is an instance, whose methods have their state already."""
    if kind != "eviction" or not inspect.ismethod(hook) or isinstance(hook.__self__, type):
        return ""
    name = type(hook.__self__).__name__
    return "" if misfit(name, hook.__func__, given) else f": give the class {name!r}, no instance"


def _at(hook: Hook) -> str:
    """Where the policy has it, if that can be told."""
    hook = inspect.unwrap(getattr(hook, MADE_BY) if isinstance(hook, type) else hook)
    code = getattr(hook, "__code__", None)
    inherited = is_of_this_package(getattr(hook, "__module__", None) or "")
    return "" if code is None or inherited else f" ({code.co_filename}, line {code.co_firstlineno})"
