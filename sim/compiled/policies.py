"""Policies for the kernel: the functions of ``sim/eviction`` and ``sim/prefetch``, by number.

A kernel compiled for each combination of policies would take minutes in a sweep, so there is one
kernel that chooses by number. The numbers are places in the list of names; the functions that
choose are written out from that list, so a policy is still one file and registered nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numba.extending import overload

from sim import registry, rng
from sim.compiled.jit import part

_OPTIONAL = ("passed", "predicted", "spared")


def _modules(kind: str) -> list[ModuleType]:
    modules = [registry.find(kind, name) for name in registry.names(kind)]
    for module in modules:
        for value in list(vars(module).values()):
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                part(value)
    return modules


def _choice(name: str, arguments: str, functions: list[Callable[..., Any] | None]) -> Any:
    """``name(code, *arguments)``: call the function with that number; None returns the score."""
    lines = [f"def {name}(code, {arguments}):"]
    for code, function in enumerate(functions):
        called = "score" if function is None else f"f{code}({arguments})"
        lines.append(f"    if code == {code}: return {called}")
    lines.append(f"    return f0({arguments})" if functions[0] else "    return score")
    scope: dict[str, Any] = {f"f{i}": function for i, function in enumerate(functions)}
    exec("\n".join(lines), scope)
    return part(scope[name])


def _eviction(hook: str, arguments: str) -> Any:
    return _choice(hook, arguments, [getattr(m, hook, None) for m in EVICTIONS])


EVICTIONS = _modules("eviction")
inserted = _eviction("inserted", "state, x, now")
used = _eviction("used", "state, x, now, score")
evicted = _eviction("evicted", "state, x, now, score")
passed = _eviction("passed", "state, x, now, score")
predicted = _eviction("predicted", "state, x, now, score")
spared = _eviction("spared", "state, x, now, score")
# [eviction][passed, predicted, spared]: whether it has the function.
HOOKS = [[int(hasattr(m, hook)) for hook in _OPTIONAL] for m in EVICTIONS]

POLICIES = _modules("prefetch")
propose = _choice(
    "propose",
    "ids, scores, tokens, limits, resident, seen, stamp, out, priority",
    [m.propose for m in POLICIES],
)
TIMED = [int(getattr(m, "TIMED", False)) for m in POLICIES]


@overload(rng.uniform)  # type: ignore[untyped-decorator]
def _uniform(seed: Any, a: Any, b: Any = 0, c: Any = 0) -> Any:
    """Python's integers have no size: here the same draw in 64 bits (tested to be the same)."""

    def uniform(seed: Any, a: Any, b: Any = 0, c: Any = 0) -> Any:
        z = np.uint64(seed)
        for key in (np.uint64(a), np.uint64(b), np.uint64(c)):
            z = _mix(z) ^ key
        return (_mix(z) >> np.uint64(11)) * (1.0 / 9007199254740992.0)

    return uniform


@part
def _mix(z: Any) -> Any:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
