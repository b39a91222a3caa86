"""Bounds and latencies worked out in arrays, against plain loops over every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from test_properties import Small, smalls

from sim import bounds as arrays
from sim.bounds import Bounds, bounds
from sim.config import RunConfig
from sim.metrics import latencies
from sim.run import Simulation, run
from sim.tiers import fewest_loads


def plain_bounds(done: Simulation, fit: list[int]) -> Bounds:
    workload, cost = done.inputs.workload, done.cost
    misses = fewest_loads(done.inputs, "simpy").tolist()
    grouped = done.inputs.config.overlap == "grouped"
    compute = link = ready = index = 0
    launch = cost.expert_launch_ns
    for step in workload.steps():
        own = cost.step(step.phase, step.tokens, step.contexts)
        for layer in range(workload.layers):
            routed, tokens = workload.routed(step, layer)
            works = [cost.expert_ns(layer, n) for n in tokens or [1] * len(routed)]
            launches = launch * (bool(routed) if grouped else len(routed))
            before = own.prologue_ns[layer] + own.attention_ns[layer] + own.gate_ns
            experts = own.moe_fixed_ns + own.shared_ns + sum(works) + launches
            compute += before + experts
            ready += before + experts
            if missed := misses[index]:
                link += done.device.wire_ns[layer] * missed
                together = grouped and len(routed) <= fit[layer]
                last = own.moe_fixed_ns + sum(works) if together else min(works)
                ready = max(ready, link + last + launch)
            index += 1
        compute += own.epilogue_ns
        ready += own.epilogue_ns
    return Bounds(compute, link, ready)


@pytest.mark.parametrize("together", [1, 3, 1000])
@given(smalls())
def test_bounds_are_those_of_a_loop_over_layer_steps(together: int, small: Small) -> None:
    """``together``: how many steps are worked out at a time."""
    done = small.run()
    inputs = done.inputs
    caches = inputs.cache_bytes * (small.layers if len(inputs.cache_bytes) == 1 else 1)
    fit = [cache // size for cache, size in zip(caches, inputs.sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_STEPS", together)
        found = bounds(
            inputs.workload,
            done.cost,
            fewest_loads(inputs, "simpy"),
            done.device.wire_ns,
            fit,
            inputs.config.overlap == "grouped",
        )
    assert found == plain_bounds(done, fit)


@given(smalls())
def test_latencies_are_those_of_a_loop_over_requests(small: Small) -> None:
    done = small.run()
    start, end = (done.steps.column(name).tolist() for name in ("start", "end"))
    last: dict[int, int] = {}
    between, first = [], []
    for step in done.inputs.workload.steps():
        for request in step.requests:
            if step.prefill:
                first.append(end[step.number] - start[step.number])
            else:
                between.append(end[step.number] - last.get(request, start[step.number]))
            last[request] = end[step.number]
    found = latencies(done.inputs.workload.table, done.steps)
    assert [column.tolist() for column in found] == [between, first]
    assert np.all(found[0] > 0)


def test_runs_that_differ_in_policies_alone_share_their_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Bounds] = []

    def watched(*arguments: Any) -> Bounds:
        found.append(bounds(*arguments))
        return found[-1]

    monkeypatch.setattr("sim.run.bounds", watched)
    once = {"requests": "0:1", "hardware": "l4", "cache": {"capacity": "30%"}}
    for change in (
        {},
        {"predictor": "previous-token"},
        {"cache": {"capacity": "30%", "eviction": "lfu"}},
        {"hardware": "v100-pcie-32gb"},
        {"overlap": "grouped"},
        {"cache": {"capacity": "40%"}},
        {"cache": {"capacity": "30%", "scope": "layer"}},
    ):
        run(RunConfig.model_validate(once | change))
    assert len(found) == len(set(found)) == 5
