"""Both engines on one system, and whether they agree in everything that they report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from test_properties import Small

from sim.compiled import engine, kernel
from sim.run import Simulation


@contextmanager
def uncompiled(go: Any = kernel.run.py_func) -> Iterator[None]:
    """The kernel's own code, run by Python: a small system takes less time than compiling."""
    with patch.object(engine, "kernel", lambda: go):
        yield


def on(small: Small, name: str) -> Simulation:
    """``small`` on the engine of that name."""
    return replace(small, config={**small.config, "engine": name}).run()


def differences(one: Simulation, other: Simulation) -> list[str]:
    """What the two runs do not have in common."""
    found = []
    for name in ("steps", "layers", "loads"):
        a, b = getattr(one, name).table(), getattr(other, name).table()
        if a.shape != b.shape or (a != b).any():
            found.append(f"{name}: {a.tolist()} and {b.tolist()}")
    for name in ("proposed", "counts", "moved_bytes"):
        a, b = getattr(one.loader, name), getattr(other.loader, name)
        if a != b:
            found.append(f"{name}: {a} and {b}")
    if one.events != other.events:
        found.append(f"events: {one.events} and {other.events}")
    return found
