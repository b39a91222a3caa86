"""Drives the kernel: builds its arrays, takes its records away, gives it more room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from prefetch_sim.sim.compiled.known_misses import known_misses
from prefetch_sim.sim.compiled.progress import OVER, STUCK, TOO_MANY_LOADS, Run
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.cost.transfers import LoadPath
from prefetch_sim.sim.engine.active_predictor import ActivePredictor
from prefetch_sim.sim.engine.garbage import no_collection
from prefetch_sim.sim.engine.records import (
    LayerRecords,
    LayerTotals,
    LoadRecords,
    Rows,
    StepRecords,
    Totals,
)
from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.eviction import fifo
from prefetch_sim.sim.jit.rows import cells
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.tiers import keeps_all

_RECORDS = 1 << 19  # rows of load records, about, between two times they are taken away
_BROKEN = {
    TOO_MANY_LOADS: "more loads than a run can have",
    STUCK: "the run waits for what never comes",
}
SIMPY_EVENTS = 3  # that SimPy needs to begin and to end a process and a run


class Finished(NamedTuple):
    layers: LayerRecords
    steps: StepRecords
    loads: LoadRecords
    totals: Totals
    events: int


def kernel() -> Callable[..., None]:
    """The compiled kernel (from the cache, or compiled at its first call)."""
    from prefetch_sim.sim.compiled.kernel import run

    return run


def is_kept() -> bool:
    """Whether a kernel was compiled before: else the first run compiles one."""
    from prefetch_sim.sim.jit.kept import KernelCache

    cache = getattr(kernel(), "_cache", None)
    return isinstance(cache, KernelCache) and cache.has_any()


def simulate(
    inputs: Inputs,
    cost: CostModel,
    predictors: Sequence[ActivePredictor],
    path: LoadPath,
    tiers: tuple[Tier, Tier | None],
    records: bool,
    one_of_many: bool,
    go: Callable[..., None] | None = None,
) -> Finished:
    """Run the workload; without ``records`` there is none of each layer and load.

    ``go`` replaces the compiled kernel (its ``py_func``, for tests).
    """
    from prefetch_sim.sim.compiled import load_path, setup
    from prefetch_sim.sim.compiled import tiers as tier_tables

    go, loads = go or kernel(), LoadRecords(records)
    cache, host = tiers
    full = keeps_all(inputs)
    # Nobody is asked who leaves then: the least work, though order and state are another's.
    gpu = tier_tables.make_tier(cache, fifo if full else inputs.eviction)
    beyond = load_path.make_path(path, host, gpu, cost.beside_loads is not None)
    missed = None
    if (
        one_of_many
        and not full
        and not inputs.cpu_computes
        and setup.timeless(predictors, cache, beyond, inputs.workload.table)
    ):
        missed = known_misses(inputs)
    s = setup.make_setup(
        inputs, cost, predictors, path, plain=beyond is None, keep=records, missed=missed
    )
    chunk = steps = s.step_count
    if records:
        chunk = max(1, min(steps, _RECORDS // (s.layers * s.experts * (len(predictors) + 1))))
    r = setup.make_run(s, chunk)
    loader, cpu = load_path.make_loader(s, path), setup.make_cpu(inputs, cost, path)
    tables = LayerRecords(), StepRecords(), loads
    until = min(chunk, steps)
    while r.at.phase != OVER:
        last = until >= steps
        with no_collection():
            go(s, gpu, beyond, loader, r, cpu, steps + 1 if last else until)
        if r.at.broken:
            raise AssertionError(_BROKEN[int(r.at.broken)])
        _take(tables, r)
        if r.at.pending >= r.room:
            r = _more_room(r)
        elif not last:
            until = min(until + chunk, steps)
    totals = Totals(
        LayerTotals(cells(r.totals), cells(r.stalls)),
        int(r.at.booked),
        int(r.at.proposed),
        r.counts.tolist(),
        int(r.at.landed),
        r.moved_bytes[: s.stages].tolist(),
    )
    return Finished(*tables, totals, int(r.at.events) + SIMPY_EVENTS)


def _take(tables: Sequence[Rows], r: Run) -> None:
    counts = r.at.layer_rows, r.at.step_rows, r.at.load_rows
    for table, rows, count in zip(tables, (r.layers, r.steps, r.loads), counts):
        table.extend(cells(rows)[:count])
    r.at.layer_rows = r.at.step_rows = r.at.load_rows = 0


def _more_room(r: Run) -> Run:
    """Twice the room for predictions that are not out yet."""
    return r._replace(room=2 * r.room, pending=np.concatenate([r.pending] * 2))
