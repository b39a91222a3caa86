"""What no policy can beat: lower bounds on the time of a run, beside every run.

- compute: everything resident, predictors free;
- link: the fewest bytes any policy must move (Belady over atomic sets), at the link's full rate,
  which the rounding of a chunk to whole nanoseconds may better by half of one;
- clairvoyant: those loads, each issued as early as if room were free, under that compute.

With experts of one size Belady moves the fewest, so all three are true bounds; with several
sizes (layers quantised differently) the last two are close estimates.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sim.cost import CostModel
from sim.eviction import belady
from sim.memory import Tier
from sim.replay import replay
from sim.step_table import (
    EPILOGUE,
    FIXED,
    GATE,
    SHARED,
    Integers,
    StepTable,
    cost_table,
    expert_table,
)
from sim.workload import Workload

_STEPS = 20_000  # worked out at a time


class Bounds(NamedTuple):
    """ns over the whole run."""

    compute: int
    link: int
    clairvoyant: int


def belady_misses(workload: Workload, make_tier: Callable[..., Tier]) -> array[int]:
    """How many experts Belady on demand misses, by layer-step. Depends on no hardware."""
    future = workload.future()
    tier = make_tier(belady, future)

    def sets() -> Iterator[tuple[int, list[int]]]:
        for step in workload.steps():
            for layer in range(workload.layers):
                now = step.number * workload.layers + layer
                routed, _ = workload.routed(step, layer)
                if len(routed) > workload.top_k and not tier.fits(routed):
                    # It streams through, and the last ones stay: those needed again soonest.
                    routed = sorted(routed, key=lambda x: -belady.next_use(future, x, now + 1))
                yield now, routed

    return array("i", replay(tier, sets()))


def bounds(
    workload: Workload,
    cost: CostModel,
    misses: npt.NDArray[np.integer],
    wire_ns: Sequence[int],
    fit: Sequence[int],
    grouped: bool,
) -> Bounds:
    """``misses`` [layer-steps]: the fewest loads that any policy needs.

    ``wire_ns[layer]``: the shortest time in which the link can move one expert of ``layer``.
    ``fit[layer]``: how many of its experts the cache can hold.
    """
    table, costs = workload.table, cost_table(cost, workload.table.kinds)
    layers, launch = workload.layers, cost.expert_launch_ns
    expert = expert_table(cost, layers, table.served)
    fixed, shared, gate = (costs.per_step[:, i] for i in (FIXED, SHARED, GATE))
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
        # When each layer-step ends if nothing is missing, epilogues of earlier steps included.
        epilogues = costs.per_step[kind, EPILOGUE]
        ends = compute + np.cumsum(work)
        ends += np.repeat(np.cumsum(epilogues) - epilogues, layers)
        missed = misses[part].astype(np.int64)
        moved = link + np.cumsum(missed * np.tile(wire_ns, len(kind)))
        together = grouped & (sets <= np.tile(fit, len(kind)))
        last = np.where(together, np.repeat(fixed[kind], layers) + works, least)
        behind = (moved + last + launch - ends)[missed > 0]
        late = max(late, int(behind.max(initial=0)))
        compute = int(ends[-1] + epilogues[-1])
        link = int(moved[-1])
    return Bounds(compute, link, compute + late)


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
