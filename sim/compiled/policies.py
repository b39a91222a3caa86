"""Policies for the kernel: the functions of ``sim/eviction`` and its like, by number.

A kernel compiled for each combination of policies would take minutes in a sweep, so one kernel
chooses by number. The numbers are places in the list of names; the functions that
choose are written out from that list, so a policy is still one file and registered nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from prefetch_sim.sim.compiled.arrays import IN_LIST, IN_TREE, OWN_QUEUES
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.eviction import lists
from prefetch_sim.sim.jit import random
from prefetch_sim.sim.jit.jit import part

assert random.uniform  # so that numba knows the draws

_OPTIONAL = ("not_routed", "predicted", "spared")


def _modules(kind: str) -> list[ModuleType]:
    modules = [registry.find(kind, name) for name in registry.names(kind)]
    for module in modules:
        _register(module)
    return modules


def _register(module: ModuleType) -> None:
    """Let numba compile the functions of ``module``."""
    for value in list(vars(module).values()):
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            part(value)


def _choice(
    name: str, arguments: str, functions: list[Callable[..., Any] | None], otherwise: str = "score"
) -> Any:
    """``name(code, *arguments)``: call the function with that number; None gives ``otherwise``."""
    lines = [f"def {name}(code, {arguments}):"]
    for code, function in enumerate(functions):
        called = otherwise if function is None else f"f{code}({arguments})"
        lines.append(f"    if code == {code}: return {called}")
    lines.append(f"    return f0({arguments})" if functions[0] else f"    return {otherwise}")
    scope: dict[str, Any] = {f"f{i}": function for i, function in enumerate(functions)}
    exec("\n".join(lines), scope)
    return part(scope[name])


def _eviction(hook: str, arguments: str, otherwise: str = "score") -> Any:
    return _choice(hook, arguments, [getattr(m, hook, None) for m in EVICTIONS], otherwise)


EVICTIONS = _modules("eviction")
_register(lists)
inserted = _eviction("inserted", "state, x, now")
used = _eviction("used", "state, x, now, score")
evicted = _eviction("evicted", "state, x, now, score", "None")
not_routed = _eviction("not_routed", "state, x, now, score")
predicted = _eviction("predicted", "state, x, now, score")
spared = _eviction("spared", "state, x, now, score")
victim = _eviction("victim", "state, p, now", "-1")
kept = _eviction("kept", "state, x, now", "None")
# [eviction][not_routed, predicted, spared]: whether it has the function.
HOOKS = [[int(hasattr(m, hook)) for hook in _OPTIONAL] for m in EVICTIONS]
KEPT_IN = [
    OWN_QUEUES if hasattr(m, "victim") else IN_LIST if getattr(m, "ASCENDING", False) else IN_TREE
    for m in EVICTIONS
]

POLICIES = _modules("prefetch")
propose = _choice(
    "propose",
    "ids, scores, tokens, limits, resident, seen, stamp, out, priority",
    [m.propose for m in POLICIES],
)
MISSES = _modules("misses")
plan = _choice(
    "plan", "count, cpu_ns, state, layer, chosen", [m.plan for m in MISSES], otherwise="None"
)
TIMED = [int(getattr(m, "TIMED", False)) for m in POLICIES]
