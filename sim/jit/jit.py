"""How kernels are compiled and kept: two decorators, so that the options stand in one place.

The parts are inlined: called, the kernel is an eighth slower, as nothing of the state stays in
registers. Reference counts are off: all arrays belong to the caller.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import numba
from numba import njit, types
from numba.extending import overload, register_jitable

from prefetch_sim import sim
from prefetch_sim.sim.jit.kept import KernelCache
from prefetch_sim.sim.jit.parts import KernelCompiler, PartCompiler
from prefetch_sim.sim.workload.mapped_arrays import cache_root

F = TypeVar("F", bound=Callable[..., Any])

PART = {"forceinline": True, "no_cfunc_wrapper": True, "pipeline_class": PartCompiler}
_KERNEL = {
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "no_cfunc_wrapper": True,  # no C code calls a kernel
    "pipeline_class": KernelCompiler,
}


def part(function: F) -> F:
    """Plain Python that numba compiles where the kernel calls it."""
    return register_jitable(**PART)(function)  # type: ignore[no-any-return]


Chosen = Callable[[Any, Any], Any]


def by_presence(absent: Chosen, present: Chosen) -> Chosen:
    """A part of (state, option), so called by both: ``absent`` if option is None, else ``present``.

    What it returns may be of two types, where a branch would have to make one of them.
    """

    def chosen(state: Any, option: Any) -> Any:
        return (absent if option is None else present)(state, option)

    @overload(chosen, strict=False, jit_options=PART)  # type: ignore[untyped-decorator]
    def _(state: Any, option: Any) -> Chosen:
        return absent if isinstance(option, types.NoneType) else present

    return chosen


def cache_folder(code: Path) -> Path | None:
    """Where compiled kernels are kept: one folder for each state of the code and its compiler.

    None where the user has no cache folder.
    """
    said = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(said) if said else cache_root()
    if root is None:
        return None
    made_by = (numba.__version__, llvmlite.__version__, sys.version)
    digest = hashlib.sha256(repr(made_by).encode())
    for path in sorted(code.rglob("*.py")):
        digest.update(path.read_bytes())
    return root / digest.hexdigest()[:16]


_kept_in = cache(cache_folder)


def kernel(function: F) -> F:
    """What is compiled as a whole, and kept on disk; ``py_func`` is the plain function."""
    made = njit(**_KERNEL)(function)
    folder = _kept_in(Path(sim.__file__).parent)
    if folder is not None:
        made._cache = KernelCache(function, folder)
    return made  # type: ignore[no-any-return]
