"""How the kernel is compiled: two decorators, so that the options stand in one place.

The parts are inlined: a part that is called would be handed every array of the run's state, which
costs more than most of them do. Reference counts are off: all arrays belong to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit
from numba.extending import register_jitable

# An index masked with this is known not to be negative: no code counts it from the end.
INDEX = 0x7FFFFFFF

F = TypeVar("F", bound=Callable[..., Any])


def part(function: F) -> F:
    """Plain Python that numba compiles where the kernel calls it."""
    return register_jitable(forceinline=True)(function)  # type: ignore[no-any-return]


def kernel(function: F) -> F:
    """What is compiled as a whole, and kept on disk; ``py_func`` is the plain function."""
    options = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
    return njit(**options)(function)  # type: ignore[no-any-return]
