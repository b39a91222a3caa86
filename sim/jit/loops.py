"""Loops over arrays that numba compiles where it is installed, and Python runs where it is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_PARTS: list[Callable[..., Any]] = []


def part(function: F) -> F:
    """What loops call."""
    _PARTS.append(function)
    return function


def loop(function: F) -> F:
    """``function`` takes and fills arrays, and makes none. Importing numba waits for a call."""

    @cache
    def best() -> Callable[..., Any]:
        if find_spec("numba") is None:
            return function
        from prefetch_sim.sim.jit import jit, random

        assert random.pick  # so that numba knows the draws
        while _PARTS:
            jit.part(_PARTS.pop())
        return cast(Callable[..., Any], jit.kernel(function))

    @wraps(function)
    def run(*arguments: Any) -> Any:
        return best()(*arguments)

    return cast(F, run)
