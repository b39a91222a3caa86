"""Both engines on one system, and whether they agree in everything that they report."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from test_properties import Small

from prefetch_sim.sim import compiled
from prefetch_sim.sim.compiled import engine, kernel, replay
from prefetch_sim.sim.compiled.arrays import Setup
from prefetch_sim.sim.compiled.progress import Prediction, Run
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.jit.rows import plain, table
from prefetch_sim.sim.results.fewest_bytes import fewest_bytes
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.traces.format import write_trace
from prefetch_sim.traces.importers import import_trace

HOW = ("", "no records", "cramped")


class Strict(np.ndarray):  # type: ignore[type-arg]
    """A flat array read as the compiled kernel's pointers are, which have no end to count from."""

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            assert 0 <= (i.start or 0) <= i.stop <= len(self)
            return super().__getitem__(i)
        assert 0 <= i < len(self)
        return self.item(i)

    def __setitem__(self, i: Any, value: Any) -> None:
        assert 0 <= i < len(self)
        super().__setitem__(i, value)


class StrictRows(list):  # type: ignore[type-arg]
    """Rows, likewise."""

    def __getitem__(self, i: Any) -> Any:
        assert 0 <= i < len(self)
        return super().__getitem__(i)


def strict(state: Any) -> Any:
    """In place of ``bare``: ``state`` with what checks its bounds."""
    return plain(state, lambda array: array.view(Strict), StrictRows)


# In place of ``bare``: memoryviews, and rows as Python reads them fastest. One end they have: what
# is read before the first item counts from the last, see Strict.
views = plain


@contextmanager
def uncompiled(
    arrays: Any = strict, kernels: Any = kernel, replays: Any = replay
) -> Iterator[None]:
    """The kernels' own code, run by Python: a small system takes less time than compiling.

    ``arrays``: how it reads them, ``strict`` or ``views``, which takes a third of the time.
    """
    with (
        patch.object(engine, "kernel", lambda: kernels.run.py_func),
        patch.object(kernels, "bare", arrays),
        patch.object(compiled, "replay", replays),
        patch.object(replays, "replay", replays.replay.py_func),
        patch.object(replays, "bare", arrays),
    ):
        yield


def arrays_of(small: Small) -> Any:
    """How ``small`` is run uncompiled: about three in ten on arrays that check every index."""
    return views if small.routing % 5 else strict


@contextmanager
def cramped() -> Iterator[None]:
    """The kernel stops often, for records to be taken away and for want of room."""
    from prefetch_sim.sim.compiled import setup  # what stands there now

    roomy = setup.make_run

    def make_run(s: Setup, steps: int) -> Run:
        pending = table(Prediction, 1 + s.predictor_count)
        return roomy(s, steps)._replace(room=1, pending=pending)

    with patch.object(setup, "make_run", make_run), patch.object(engine, "_RECORDS", 1):
        yield


def on(small: Small, name: str, how: str = "") -> Simulation:
    """``small`` on the engine of that name; ``how``: one of HOW."""
    here = replace(small, config={**small.config, "engine": name})
    if how == "cramped" and name == "compiled":
        with cramped():
            return here.run()
    return here.run(records=how != "no records", one_of_many=not how)


def reported(done: Simulation) -> dict[str, Any]:
    """Everything of its run that the engines are to have in common."""
    said = {name: getattr(done, name).table() for name in ("steps", "layers", "loads")}
    layers, *totals = done.totals
    said |= layers._asdict() | dict(zip(done.totals._fields[1:], totals))
    said["events"] = done.events
    return {name: np.asarray(values).tolist() for name, values in said.items()}


def differences(one: Simulation, other: Simulation) -> list[str]:
    """What the two runs do not have in common, and what is worked out of them for the bounds."""
    said, also = (
        reported(done) | {"fewest bytes": fewest_bytes(done.inputs, done.engine).tolist()}
        for done in (one, other)
    )
    return [f"{name}: {said[name]} and {also[name]}" for name in said if said[name] != also[name]]


PREDICTORS: list[Any] = [
    "none",
    "oracle",
    {"name": "oracle", "recall": 0.8},
    "previous-token",
    "layer-frequency",
    "transition",
    ["transition", {"name": "oracle", "recall": 0.9}],
]
RECORDED: list[Any] = ["pre-attention", "next-gate", ["cross-layer", "pre-attention"]]


def combinations(**keys: Any) -> Iterator[RunConfig]:
    """Every predictor x prefetch x eviction x overlap x scope, on the trace that ``keys`` name."""
    recorded = [] if "trace" in keys else RECORDED
    axes = product(
        registry.names("eviction"),
        registry.names("prefetch"),
        PREDICTORS + recorded,
        ["per_expert", "grouped", "none"],
        ["global", "layer"],
    )
    for eviction, policy, predictor, overlap, scope in axes:
        config = {
            "predictor": predictor,
            "prefetch": {"policy": policy, "extra": 1, "threshold": 0.3},
            "cache": {"capacity": "30%", "eviction": eviction, "scope": scope},
            "runtime": {"name": "ideal", "overlap": overlap},
        }
        yield RunConfig.model_validate(config | keys)


def compare(config: RunConfig) -> tuple[Simulation, list[str]]:
    """The run on SimPy, and what the engines differ in, their results included."""
    one, other = (
        simulate(load(config.model_copy(update={"engine": name}))) for name in ("simpy", "compiled")
    )
    found = differences(one, other)
    told, also = results(one), results(other)
    for result in (told, also):
        assert result.pop("engine") == result["config"].pop("engine")
    return one, found + ([] if told == also else [f"results: {told} and {also}"])


def count(counts: Counter[str], done: Simulation) -> None:
    counts["runs"] += 1
    counts["layer-steps"] += len(done.layers)
    counts["loads"] += len(done.loads)
    counts["events"] += done.events


def tell(what: str, counts: Counter[str], began: float) -> None:
    told = ", ".join(f"{n:,} {name}" for name, n in counts.items())
    print(f"{date.today()} {what}: {told}; all equal ({time.time() - began:.0f} s)", flush=True)


def every_combination(name: str, **keys: Any) -> None:
    counts: Counter[str] = Counter()
    began = time.time()
    for config in combinations(**keys):
        one, found = compare(config)
        assert found == [], config
        count(counts, one)
    tell(name, counts, began)


def main() -> None:
    """``python tests/agreement.py sample``, or a route trace of a phone.

    Every combination of policies on the first requests, the kernel compiled. Random systems:
    ``readings.py``.
    """
    if not sys.argv[1:]:
        sys.exit("python tests/agreement.py sample | ROUTE_TRACE ...")
    for argument in sys.argv[1:]:
        if argument == "sample":
            every_combination("mini-gpt-oss", requests="0:1", model="gpt-oss-20b")
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "trace.parquet"
                trace = import_trace(Path(argument))
                write_trace(path, trace)
                name = Path(argument).name
                roomy = {"name": "snapdragon-8", "compute": {"memory_gib": 4000}}
                every_combination(name, trace=str(path), hardware=roomy, model=None)


if __name__ == "__main__":
    main()
