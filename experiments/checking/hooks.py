"""The functions that a policy of each kind has or may have, and what each is called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from prefetch_sim.experiments.checking.rules import need
from prefetch_sim.sim.config.foreign import NEAR

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
_METHODS = {"table": "self", "predict": "self, step, target", "observe": "self, step, layer"}
_SWITCHES = {"eviction": ("ASCENDING", "LOOKS_AHEAD"), "prefetch": ("TIMED",)}
_ATTRIBUTES = ("trigger", "distance", "cost")  # of a Predictor, beside its methods


def takes_what_it_is_told(module: ModuleType, params: Any = None) -> None:
    """Its functions take the arguments that they are called with."""
    for name, hook, told in _called(module):
        own = _parameters(hook)
        if own is None:
            continue
        given, taken = told.split(", "), list(own.parameters)
        need(
            _fits(own, given) and (taken == given or set(taken) != set(given)),
            f"{name} takes ({', '.join(taken)}) and is called with ({told}), in that order",
        )


def _fits(own: inspect.Signature, given: list[str]) -> bool:
    try:
        own.bind(*given)
    except TypeError:
        return False
    return True


def _called(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Each hook that ``module`` has: its name, itself and what it is called with."""
    for hooks in HOOKS.values():
        for name, told in hooks.items():
            if callable(hook := getattr(module, name, None)):
                yield name, hook, told
    for name, told in _METHODS.items():
        if callable(hook := getattr(getattr(module, "Predictor", None), name, None)):
            yield f"Predictor.{name}", hook, told


def _parameters(hook: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(hook)
    except (TypeError, ValueError):  # of a compiled extension, which says nothing
        return None


def found(module: ModuleType, kind: str) -> tuple[str, ...]:
    """The hooks that ``module`` has, which are those that will be called or read."""
    if kind == "predictors":
        own = {name for one in module.Predictor.__mro__[:-1] for name in _own(one)}
        return tuple(name for name in (*_METHODS, *_ATTRIBUTES) if name in own)
    return tuple(name for name in HOOKS[kind] if callable(getattr(module, name, None)))


def never_called(module: ModuleType, kind: str) -> tuple[str, ...]:
    """A line for each name so near to that of a hook that it was probably meant."""
    known = [*HOOKS[kind], *_SWITCHES.get(kind, ())]
    lines = [*_near(vars(module), known)]
    if kind == "predictors":
        own = {name for one in module.Predictor.__mro__[:-1] for name in _own(one)}
        lines += _near(own, [*_METHODS, *_ATTRIBUTES])
    return tuple(lines)


def _own(given: type) -> Iterable[str]:
    """The names of a class that is not of this package."""
    return () if given.__module__.startswith("prefetch_sim.sim.") else vars(given)


def _near(given: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    there = set(given)
    missing = {name.lower(): name for name in known if name not in there}
    for name in sorted(there - set(known)):
        for near in get_close_matches(name.lower(), missing, n=1, cutoff=NEAR):
            yield f"nothing reads or calls {name!r}: did you mean {missing[near]!r}?"
