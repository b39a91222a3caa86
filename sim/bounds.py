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
from sim.workload import Workload


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
    misses: npt.NDArray[np.int32],
    wire_ns: Sequence[int],
    fit: Sequence[int],
    grouped: bool,
) -> Bounds:
    """``wire_ns[layer]``: the shortest time in which the link can move one expert of ``layer``.

    ``fit[layer]``: how many of its experts the cache can hold.
    """
    compute = link = ready = 0  # ready: when the compute engine is free
    launch = cost.expert_launch_ns
    index = 0
    for step in workload.steps():
        own = cost.step(step.phase, step.tokens, step.contexts)
        for layer in range(workload.layers):
            routed, tokens = workload.routed(step, layer)
            if tokens is None:
                works = [cost.expert_ns(layer, 1)] * len(routed)
            else:
                works = [cost.expert_ns(layer, n) for n in tokens]
            launches = launch * (bool(routed) if grouped else len(routed))
            before = own.prologue_ns[layer] + own.attention_ns[layer] + own.gate_ns
            experts = own.moe_fixed_ns + own.shared_ns + sum(works) + launches
            compute += before + experts
            ready += before + experts
            missed = int(misses[index])
            if missed:
                link += wire_ns[layer] * missed
                together = grouped and len(routed) <= fit[layer]
                last = own.moe_fixed_ns + sum(works) if together else min(works)
                ready = max(ready, link + last + launch)
            index += 1
        compute += own.epilogue_ns
        ready += own.epilogue_ns
    return Bounds(compute, link, ready)
