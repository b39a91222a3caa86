"""Simulates expert prefetching and caching for Mixture-of-Experts inference.

In Python: ``run``, ``sweep``, ``compare``, ``advise``, ``plot``, ``check``, ``load_trace`` and
``Trace``, as docs/python.md has them. Each is imported when it is first asked for. The package is
the folders of the repository under one import name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefetch_sim.experiments.api.figures import plot
    from prefetch_sim.experiments.api.runs import Run, run
    from prefetch_sim.experiments.api.sweeps import Sweep, sweep
    from prefetch_sim.experiments.api.traces import load_trace
    from prefetch_sim.experiments.api.verdicts import advise, compare
    from prefetch_sim.experiments.checking.checks import check
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.traces.trace import Trace, TraceError

_HOMES = {
    "ConfigError": "sim.config.errors",
    "Run": "experiments.api.runs",
    "Sweep": "experiments.api.sweeps",
    "Trace": "traces.trace",
    "TraceError": "traces.trace",
    "advise": "experiments.api.verdicts",
    "check": "experiments.checking.checks",
    "compare": "experiments.api.verdicts",
    "load_trace": "experiments.api.traces",
    "plot": "experiments.api.figures",
    "run": "experiments.api.runs",
    "sweep": "experiments.api.sweeps",
}

__all__ = [
    "ConfigError",
    "Run",
    "Sweep",
    "Trace",
    "TraceError",
    "advise",
    "check",
    "compare",
    "load_trace",
    "plot",
    "run",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """The name's home is imported now."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
