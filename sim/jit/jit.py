"""How kernels are compiled and kept: two decorators, so that the options stand in one place.

The parts are inlined: a part that is called would be handed every field of the run's state, which
costs more than most of them do. Reference counts are off: all arrays belong to the caller.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import njit, types
from numba.extending import overload, register_jitable

from prefetch_sim import sim
from prefetch_sim.sim.jit.parts import PartCompiler
from prefetch_sim.sim.workload.mapped_arrays import cache_root

F = TypeVar("F", bound=Callable[..., Any])

_PART = {"forceinline": True, "no_cfunc_wrapper": True, "pipeline_class": PartCompiler}


def part(function: F) -> F:
    """Plain Python that numba compiles where the kernel calls it."""
    return register_jitable(**_PART)(function)  # type: ignore[no-any-return]


Chosen = Callable[[Any, Any], Any]


def by_presence(absent: Chosen, present: Chosen) -> Chosen:
    """A part of (state, option), so called by both: ``absent`` if option is None, else ``present``.

    What it returns may be of two types, where a branch would have to make one of them.
    """

    def chosen(state: Any, option: Any) -> Any:
        return (absent if option is None else present)(state, option)

    @overload(chosen, strict=False, jit_options=_PART)  # type: ignore[untyped-decorator]
    def _(state: Any, option: Any) -> Chosen:
        return absent if isinstance(option, types.NoneType) else present

    return chosen


def cache_folder(code: Path) -> Path:
    """Where compiled kernels are kept: one folder for each state of the code.

    numba looks only at the file of the function it keeps, not at those it calls.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(code.rglob("*.py")):
        digest.update(path.read_bytes())
    return cache_root() / digest.hexdigest()[:16]


def kernel(function: F) -> F:
    """What is compiled as a whole, and kept on disk; ``py_func`` is the plain function."""
    if not os.environ.get("NUMBA_CACHE_DIR"):  # numba looks where when it decorates
        numba.config.CACHE_DIR = str(cache_folder(Path(sim.__file__).parent))
    options = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
    # No C code calls a kernel, so the wrapper for that need not be compiled.
    return njit(**options, no_cfunc_wrapper=True)(function)  # type: ignore[no-any-return]
