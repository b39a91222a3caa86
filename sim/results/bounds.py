"""No policy can beat these lower bounds on the time of a run, which stand beside every run.

- compute: everything resident, predictors free;
- link: the least traffic (``sim.results.traffic``) at the link's full rate;
- clairvoyant: that compute, where no layer-step ends before the least traffic up to it has come
  through the link, nor before what is computed after the last load that it needs.

All three are true bounds, whatever the experts' sizes. Where the CPU may compute what is missing,
nothing need move, and compute is that of both sharing out every layer's experts at will.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from prefetch_sim.hardware_profiles import Overlap
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.cost.tables import (
    EPILOGUE,
    FIXED,
    GATE,
    SHARED,
    cost_table,
    cpu_table,
    expert_table,
)
from prefetch_sim.sim.workload.step_table import Integers, StepTable
from prefetch_sim.sim.workload.workload import Workload

Floats = npt.NDArray[np.float64]
_STEPS = 20_000  # worked out at a time


class Bounds(NamedTuple):
    """ns over the whole run."""

    compute: int
    link: int
    clairvoyant: int


def bounds(
    workload: Workload,
    cost: CostModel,
    least_bytes: Integers,
    sizes: Sequence[int],
    wire_ns: Sequence[int],
    fit: Sequence[int],
    overlap: Overlap,
    cpu: bool,
) -> Bounds:
    """``least_bytes`` [layer-steps]: what any policy must have moved by the end of each.

    ``wire_ns[layer]``: the shortest time in which the link can move one expert of ``layer``, of
    ``sizes[layer]`` bytes. ``fit[layer]``: how many of its experts the cache can hold, beside
    static ones. ``cpu``: it may compute what is missing.
    """
    # Bytes are charged as those of the layer whose rate, for want of rounding, is the highest.
    wire, size = min(zip(wire_ns, sizes), key=lambda layer: Fraction(*layer))
    through = least_bytes // size * wire + least_bytes % size * wire // size
    table, costs = workload.table, cost_table(cost, workload.table.kinds)
    layers, launch = workload.layers, cost.expert_launch_ns
    expert = expert_table(cost, layers, table.served)
    if cpu:
        assert cost.cpu is not None
        share = _share_of_two(expert, cpu_table(cost.cpu, layers, table.served)[0])
        launch, through = 0, np.zeros_like(through)
    fixed, shared, gate = (costs.per_step[:, i] for i in (FIXED, SHARED, GATE))
    grouped = overlap != "per_expert"
    with_group = fixed + shared if overlap == "none" else fixed
    own = costs.per_layer.sum(axis=2) + (fixed + shared + gate)[:, None]
    compute = link = 0
    late = 0  # how far the loads have thrown back the compute engine, at most
    for first in range(0, len(table.kind), _STEPS):
        kind = table.kind[first : first + _STEPS]
        part = slice(first * layers, (first + len(kind)) * layers)
        works, least = _works(table, expert, part.start, part.stop, layers)
        sets = np.diff(table.first_routed[part.start : part.stop + 1])
        launches = launch * (np.minimum(sets, 1) if grouped else sets)
        work = own[kind].ravel() + works + launches
        if cpu:
            alone = np.repeat((fixed + shared)[kind], layers)
            both = np.floor((alone + works) * np.tile(share, len(kind))).astype(np.int64)
            work += np.maximum(alone, both) - alone - works
        # When each layer-step ends if nothing is missing, epilogues of earlier steps included.
        epilogues = costs.per_step[kind, EPILOGUE]
        ends = compute + np.cumsum(work)
        ends += np.repeat(np.cumsum(epilogues) - epilogues, layers)
        moved = through[part]
        together = grouped & (sets <= np.tile(fit, len(kind)))
        last = np.where(together, np.repeat(with_group[kind], layers) + works, least)
        behind = (moved + last + launch - ends)[np.diff(moved, prepend=link) > 0]
        late = max(late, int(behind.max(initial=0)))
        compute = int(ends[-1] + epilogues[-1])
        link = int(moved[-1])
    return Bounds(compute, link, compute + late)


def _share_of_two(expert: Integers, on_cpu: Integers) -> Floats:
    """[layers]: what is left of a layer's time, at least, if two share it out at will.

    Let the compute engine take F for what is its own and G for all experts, of which it is left x.
    The CPU takes at least r (G - x), r being the least ratio of the two for one expert. Then the
    later of both is at least F, and at least (F + G) r / (1 + r).
    """
    share = np.zeros(len(expert))
    for layer, (mine, its) in enumerate(zip(expert.tolist(), on_cpu.tolist())):
        ratio = min((c / g for g, c in zip(mine, its) if g), default=0.0)
        share[layer] = ratio / (1 + ratio) * (1 - 1e-12)  # whatever the rounding
    return share


def _works(
    table: StepTable, expert: Integers, first: int, end: int, layers: int
) -> tuple[Integers, Integers]:
    """Of layer-steps ``first`` to ``end``: ns of all experts, and of the quickest."""
    sets = np.diff(table.first_routed[first : end + 1])
    least = np.tile(expert[:, 1], len(sets) // layers)
    sums = sets * least
    a, b = np.searchsorted(table.several, [first, end])
    some = table.several[a:b] - first
    some = some[sets[some] > 0]
    if len(some):  # the rest serve one token each
        sizes = sets[some]
        begins = np.cumsum(sizes) - sizes
        at = np.repeat(table.first_routed[some + first] - begins, sizes) + np.arange(sizes.sum())
        each = expert[np.repeat(some % layers, sizes), table.tokens[at]]
        sums[some], least[some] = np.add.reduceat(each, begins), np.minimum.reduceat(each, begins)
    return sums, least
