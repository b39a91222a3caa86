"""Faults planted in copies of the engines, and the random systems that are to meet them."""

from __future__ import annotations

import importlib
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from agreement import HOW, arrays_of, on, reported, uncompiled
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mutants import Mutant
from strained import strained
from test_properties import Small, smalls

from prefetch_sim import sim

SIMPY = ("engine", "machine")  # rooms
COMPILED = ("setup", "tiers", "load_path")  # what builds the arrays
# Random systems in which a fault is to be met, in this order: each kind is for those that the ones
# before it hardly meet. The last two are of evictions with queues, and of those with `not_routed`.
KINDS = (
    (3000, smalls() | smalls(congested=True)),
    (2000, strained()),
    (1000, strained().map(lambda small: replace(small, eviction="s3-fifo"))),
    (1000, smalls(predictors=0, evictions=("least-stale", "prediction-aware"), cpu=False)),
)
SYSTEMS = sum(systems for systems, _ in KINDS)
LONGEST = 2.0  # s of computing for a system that takes some milliseconds
ENDLESS = 3  # runs that do not end, after which no more are waited for
_BATCH = 100  # drawn at once, of one kind
_ENDS = list(accumulate(systems for systems, _ in KINDS))
ERRORS = AssertionError, IndexError, RuntimeError, ValueError, OverflowError
Reading = Callable[[Small, str], dict[str, Any]]  # what a system's run reports, by HOW


class EndlessRunError(Exception):
    """A run does not end: no error of the engines', so that no fault is taken to be met by it."""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """EndlessRunError is raised after so many seconds of computing, however busy the machine is."""

    def too_long(*_: Any) -> None:
        raise EndlessRunError

    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@cache
def _batch(number: int) -> list[tuple[Small, str]]:
    found: list[tuple[Small, str]] = []
    systems = next(kind for end, (_, kind) in zip(_ENDS, KINDS) if number * _BATCH < end)

    @seed(number)
    @settings(
        max_examples=_BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(systems, st.sampled_from(("", "", *HOW)))
    def draw(small: Small, how: str) -> None:
        found.append((small, how))

    draw()
    return found


def drawn(i: int) -> tuple[Small, str]:
    """System ``i``, and how it is run: one sequence for all faults, and the same each time."""
    return _batch(i // _BATCH)[i % _BATCH]


def _read(
    engine: str, stand_ins: dict[str, Any], kernels: dict[str, Any], small: Small, how: str
) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch, uncompiled(arrays_of(small), **kernels):
        for target, stand_in in stand_ins.items():
            patch.setattr(target, stand_in)
        return reported(on(small, engine, how))


@cache
def sound(engine: str, i: int) -> dict[str, Any]:
    """What the engine reports of system ``i`` as it is: worked out once for all faults."""
    return _read(engine, {}, {}, *drawn(i))


@contextmanager
def planted(faults: Sequence[Mutant], folder: Path) -> Iterator[Callable[[str], Reading]]:
    """Gives the readings, by engine, in which a copy with its faults stands for each engine."""
    root, package = Path(sim.__file__).parent, folder / "mutant"
    package.mkdir()
    in_compiled = any(fault.file.startswith("compiled/") for fault in faults)
    in_simpy = any(not fault.file.startswith("compiled/") for fault in faults)
    rooms = SIMPY * in_simpy + ("compiled",) * in_compiled
    for room in rooms:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / room, package / room, ignore=ignored)
    for fault in faults:
        text = (package / fault.file).read_text()
        assert text.count(fault.old) == 1, "a mutant is of one place"
        (package / fault.file).write_text(text.replace(fault.old, fault.new))
    copied = "|".join(rooms)
    for path in package.rglob("*.py"):
        text = re.sub(rf"\bprefetch_sim\.sim\.({copied})\b", r"mutant.\1", path.read_text())
        path.write_text(text)

    find = importlib.import_module
    stand_ins, kernels = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        if in_compiled:
            for name in COMPILED:
                # There before it is replaced.
                target = find(f"prefetch_sim.sim.compiled.{name}").__name__
                stand_ins[target] = find(f"mutant.compiled.{name}")
            kernels["kernels"] = find("mutant.compiled.kernel")
            kernels["replays"] = find("mutant.compiled.replay")
        if in_simpy:
            stand_ins["prefetch_sim.sim.run.Loader"] = find("mutant.engine.loader").Loader
            device = find("mutant.machine.device").SimulatedDevice
            stand_ins["prefetch_sim.sim.run.SimulatedDevice"] = device
            decisions = find("mutant.engine.decisions").Decisions
            stand_ins["prefetch_sim.sim.setup.parts.Decisions"] = decisions
            stand_ins["prefetch_sim.sim.run.Plan"] = find("mutant.engine.plan").Plan
            stand_ins["prefetch_sim.sim.run.ForwardPass"] = find(
                "mutant.engine.forward_pass"
            ).ForwardPass
            stand_ins["prefetch_sim.sim.setup.tiers.Tier"] = find("mutant.engine.tier").Tier
        try:
            yield lambda engine: partial(_read, engine, stand_ins, kernels)
        finally:
            for module in [m for m in sys.modules if m.split(".")[0] == "mutant"]:
                del sys.modules[module]


def first_met(
    reading: Reading,
    other: Callable[[int], dict[str, Any]],
    systems: int = SYSTEMS,
    kind: int = 0,
) -> int | None:
    """The first system of which ``reading`` reports what ``other`` does not, or fails; or None.

    ``other`` is the reading of system ``i`` by what has not the fault: the other engine, or, where
    a fault stands in both, a third. Which systems are drawn depends on all of the code, so one that
    does not end may come before one that differs. ``kind``: of the systems to begin with. Raises
    EndlessRunError after some runs that do not end.
    """
    endless = 0
    for i in range(sum(n for n, _ in KINDS[:kind]), systems):
        said = other(i)
        try:
            with limit(LONGEST):
                if reading(*drawn(i)) != said:
                    return i
        except EndlessRunError:
            endless += 1
            if endless == ENDLESS:
                raise
        except ERRORS:
            return i
    return None
