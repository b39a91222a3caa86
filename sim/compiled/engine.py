"""Drives the kernel: builds its arrays, takes its records away, gives it more room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sim.compiled.arrays import (
    A_COUNT,
    A_LAYER,
    A_LOAD_ROW,
    A_STEP_ROW,
    ALL,
    BROKEN,
    COUNTS,
    EVENTS,
    LAYER_ROWS,
    LOAD_ROWS,
    LOADS_LANDED,
    MOVED,
    OVER,
    PENDING,
    PHASE,
    PROPOSED,
    STALLED,
    STEP_ROWS,
    Run,
)
from sim.cost import CostModel
from sim.device import SimulatedDevice
from sim.engine import Hook
from sim.eviction import fifo
from sim.garbage import no_collection
from sim.inputs import Inputs
from sim.loads import DISPOSITIONS
from sim.memory import Tier
from sim.records import LayerRecords, LayerTotals, LoadRecords, Rows, StepRecords
from sim.tiers import keeps_all, known_misses

_RECORDS = 1 << 19  # rows of load records, about, between two times they are taken away
_BROKEN = ("", "more loads than a run can have", "the run waits for what never comes")
SIMPY_EVENTS = 3  # that SimPy needs to begin and to end a process and a run


class Finished(NamedTuple):
    layers: LayerRecords
    steps: StepRecords
    totals: LayerTotals
    events: int
    proposed: int
    dispositions: list[int]
    moved_bytes: list[list[int]]  # [stage][origin]


def kernel() -> Callable[..., None]:
    """The compiled kernel (from the cache, or compiled at its first call)."""
    from sim.compiled.kernel import run

    return run


def simulate(
    inputs: Inputs,
    cost: CostModel,
    hooks: Sequence[Hook],
    device: SimulatedDevice,
    tiers: tuple[Tier, Tier | None],
    loads: LoadRecords,
    one_of_many: bool,
    go: Callable[..., None] | None = None,
) -> Finished:
    """Run the workload, adding to ``loads``; without records of each layer if it keeps none.

    ``go`` replaces the compiled kernel (its ``py_func``, for tests).
    """
    from sim.compiled import setup
    from sim.compiled.tiers import make_tier

    go = go or kernel()
    cache, host = tiers
    full = keeps_all(inputs)
    # Nobody is asked who leaves then: the least work, though order and state are another's.
    gpu = make_tier(cache, fifo if full else inputs.eviction)
    way = setup.make_way(device, host, gpu)
    missed = None
    if one_of_many and not full and setup.timeless(hooks, cache, way, inputs.workload.table):
        missed = known_misses(inputs)
    s = setup.make_setup(inputs, cost, hooks, device, keep=loads.keep, missed=missed)
    chunk = steps = s.step_count
    if loads.keep:
        chunk = max(1, min(steps, _RECORDS // (s.layers * s.experts * (len(hooks) + 1))))
    r = setup.make_run(s, chunk)
    q = setup.make_loads(s, device)
    tables = LayerRecords(), StepRecords(), loads
    until = min(chunk, steps)
    while r.of[PHASE] != OVER:
        last = until >= steps
        with no_collection():
            go(s, gpu, way, q, r, steps + 1 if last else until)
        if r.of[BROKEN]:
            raise AssertionError(_BROKEN[r.of[BROKEN]])
        _take(tables, r)
        if r.of[PENDING] >= r.room:
            r = _more_room(r)
        elif not last:
            until = min(until + chunk, steps)
    loads.landed = int(r.of[LOADS_LANDED])
    return Finished(
        *tables[:2],
        totals=LayerTotals(r.counts.reshape(2, s.layers, A_COUNT), r.of[STALLED:COUNTS]),
        events=int(r.of[EVENTS]) + SIMPY_EVENTS,
        proposed=int(r.of[PROPOSED]),
        dispositions=r.of[COUNTS : COUNTS + len(DISPOSITIONS)].tolist(),
        moved_bytes=r.of[MOVED:ALL].reshape(-1, 2)[: s.stages].tolist(),
    )


def _take(tables: Sequence[Rows], r: Run) -> None:
    rows = r.layers, r.steps, r.loads
    widths, counts = (A_LAYER, A_STEP_ROW, A_LOAD_ROW), (LAYER_ROWS, STEP_ROWS, LOAD_ROWS)
    for table, values, width, count in zip(tables, rows, widths, counts):
        table.extend(values.reshape(-1, width)[: r.of[count]])
        r.of[count] = 0


def _more_room(r: Run) -> Run:
    """Twice the room for predictions that are not out yet."""
    return r._replace(room=2 * r.room, pending=np.concatenate([r.pending] * 2))
