"""How long until a layer still to come is routed, if nothing until then stalls."""

from __future__ import annotations

from collections.abc import Sequence

from prefetch_sim.sim.cost.model import CostModel, StepCost
from prefetch_sim.sim.workload.workload import Workload

Alone = Sequence[Sequence[int]]  # [layer][n]: ns to compute n experts that serve one token each


def alone(workload: Workload, cost: CostModel, grouped: bool) -> Alone:
    """``grouped``: they are launched once for all."""
    launch = [
        cost.expert_launch_ns * (min(n, 1) if grouped else n) for n in range(workload.top_k + 1)
    ]
    return [
        [ns + n * cost.expert_ns(layer, 1) for n, ns in enumerate(launch)]
        for layer in range(workload.layers)
    ]


def between(cost: StepCost, experts: Alone, layer: int, target: int) -> int:
    """ns from the routing of ``layer`` to that of ``target``, without inline predictors."""
    own = cost.shared_ns + cost.moe_fixed_ns + cost.gate_ns
    return sum(
        own + experts[later - 1][-1] + cost.prologue_ns[later] + cost.attention_ns[later]
        for later in range(layer + 1, target + 1)
    )
