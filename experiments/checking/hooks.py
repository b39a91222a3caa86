"""Which functions of a policy are called, which names were meant as one, and the first rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from prefetch_sim.sim.config.registry import is_of_this_package
from prefetch_sim.sim.config.source import NEAR
from prefetch_sim.sim.setup.arguments import HOOKS, METHODS, hold_arguments

_SWITCHES = {"eviction": ("ASCENDING", "LOOKS_AHEAD"), "prefetch": ("TIMED",)}
_ATTRIBUTES = ("trigger", "distance", "cost")  # of a Predictor, beside its methods


def rule_of_arguments(kind: str) -> Callable[..., None]:
    """The rule of the arguments, for policies of ``kind``."""

    def takes_what_it_is_told(module: ModuleType, params: Any = None) -> None:
        """Its functions take the arguments that they are called with."""
        hold_arguments(kind, module)

    return takes_what_it_is_told


def found(module: ModuleType, kind: str) -> tuple[str, ...]:
    """The hooks that ``module`` has, which are those that will be called or read."""
    if kind == "predictors":
        own = {name for one in module.Predictor.__mro__[:-1] for name in _own(one)}
        return tuple(name for name in (*METHODS, *_ATTRIBUTES) if name in own)
    return tuple(name for name in HOOKS[kind] if callable(getattr(module, name, None)))


def never_called(module: ModuleType, kind: str) -> tuple[str, ...]:
    """A line for each name so near to that of a hook that it was probably meant."""
    known = [*HOOKS[kind], *_SWITCHES.get(kind, ())]
    lines = [*_near(vars(module), known)]
    if kind == "predictors":
        own = {name for one in module.Predictor.__mro__[:-1] for name in _own(one)}
        lines += _near(own, [*METHODS, *_ATTRIBUTES])
    return tuple(lines)


def _own(given: type) -> Iterable[str]:
    """The names of a class that is not of this package."""
    return () if is_of_this_package(given.__module__) else vars(given)


def _near(given: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    there = set(given)
    missing = {name.lower(): name for name in known if name not in there}
    for name in sorted(there - set(known)):
        for near in get_close_matches(name.lower(), missing, n=1, cutoff=NEAR):
            yield f"nothing reads or calls {name!r}: did you mean {missing[near]!r}?"
