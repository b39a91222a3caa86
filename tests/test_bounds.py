"""Bounds: never above a run's time, near the least, and worked out in arrays as in plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import FixedCost, machine, make_trace, run_system, system
from hypothesis import HealthCheck, given, settings
from least import BOUNDED, beaten, mixed, streaming, tightness
from test_properties import Small, smalls

from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.results import bounds as arrays
from prefetch_sim.sim.results.bounds import Bounds, bounds
from prefetch_sim.sim.results.fewest_bytes import fewest_bytes
from prefetch_sim.sim.results.metrics import latencies
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.run import run
from prefetch_sim.sim.setup.tiers import make_cache


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(BOUNDED)
def test_no_run_beats_its_bounds(small: Small) -> None:
    assert beaten(small.run()) == []


def test_the_link_bound_is_near_the_least_traffic_of_all_policies() -> None:
    """Of experts of several sizes; ``python tests/least.py`` tries more."""
    found = [tightness(mixed(np.random.default_rng(i))) for i in range(200)]
    scarce = [share for share, twice in found if twice]
    assert len(scarce) > 100
    assert np.median(scarce) > 0.95
    assert min(scarce) > 0.5


def test_a_run_that_lets_small_experts_go_for_a_large_one_does_not_beat_the_bounds() -> None:
    # Belady by the number of loads would let the large expert go, which costs more bytes.
    small, large = 5_308_416, 18_874_368
    routing = [[[0], [0], [3]], [[0], [0], [2]], [[1], [4], [1]]]
    inputs = system(
        make_trace(routing, 5, sizes=[small, large, small]),
        machine(gb_s=25.5),
        capacity=large + small,
        eviction="belady",
        predictors=[("oracle", {"distance": 1})],
    )
    _, found = run_system(inputs, FixedCost(3))
    # Six experts once, and one small one again.
    least = 6 * small + 2 * large
    assert fewest_bytes(inputs, "simpy").tolist()[-1] == least
    assert found["bounds_ms"]["link"] == pytest.approx(least / 25.5 / 1e6, rel=1e-6)
    assert found["regret_ms"] >= 0


def test_the_least_traffic_of_sets_that_stream_is_no_more_than_any_policy_needs() -> None:
    """Belady's own order is no bound here.

    Of two experts whose next use is in one such set, the one that is needed sooner after it may
    better be let go: it is then loaded there among the last, and stays.
    """
    found = [tightness(streaming(np.random.default_rng(i)))[0] for i in range(300)]
    assert np.mean(found) > 0.95


def plain_bounds(done: Simulation, fit: list[int]) -> Bounds:
    workload, cost = done.inputs.workload, done.cost
    wire, size = min(
        zip(done.path.least_ns, done.inputs.sizes), key=lambda layer: layer[0] / layer[1]
    )
    least = fewest_bytes(done.inputs, "simpy").tolist()
    overlap = done.inputs.runtime.overlap
    grouped = overlap != "per_expert"
    compute = link = ready = index = 0
    launch = 0 if done.inputs.cpu_computes else cost.expert_launch_ns
    for step in workload.steps():
        own = cost.step(step.phase, step.tokens, step.contexts)
        for layer in range(workload.layers):
            routed, tokens = workload.routed(step, layer)
            works = [cost.expert_ns(layer, n) for n in tokens or [1] * len(routed)]
            if cost.cpu is not None and done.inputs.cpu_computes:
                pairs = [
                    (cost.expert_ns(layer, n), cost.cpu.expert_ns(layer, n, False))
                    for n in workload.table.served
                ]
                ratio = min((its / mine for mine, its in pairs if mine), default=0.0)
                alone = own.moe_fixed_ns + own.shared_ns
                share = ratio / (1 + ratio) * (1 - 1e-12)
                works = [max(alone, int((alone + sum(works)) * share)) - alone]
            launches = launch * (bool(routed) if grouped else len(routed))
            before = own.prologue_ns[layer] + own.attention_ns[layer] + own.gate_ns
            experts = own.moe_fixed_ns + own.shared_ns + sum(works) + launches
            compute += before + experts
            ready += before + experts
            moved = not done.inputs.cpu_computes
            if moved and least[index] > least[index - 1] * (index > 0):
                link = least[index] * wire // size
                together = grouped and len(routed) <= fit[layer]
                with_group = own.moe_fixed_ns + (own.shared_ns if overlap == "none" else 0)
                last = with_group + sum(works) if together else min(works)
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
    caches = make_cache(inputs).room
    caches = caches * (small.layers if len(caches) == 1 else 1)
    fit = [cache // size for cache, size in zip(caches, inputs.sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_STEPS", together)
        found = bounds(
            inputs.workload,
            done.cost,
            fewest_bytes(inputs, "simpy"),
            inputs.sizes,
            done.path.least_ns,
            fit,
            inputs.runtime.overlap,
            inputs.cpu_computes,
        )
    assert found == plain_bounds(done, fit)


@given(smalls(cpu=False))
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

    monkeypatch.setattr("prefetch_sim.sim.results.summary.bounds", watched)
    once = {"requests": "0:1", "hardware": "l4", "cache": {"capacity": "30%"}}
    for change in (
        {},
        {"predictor": "previous-token"},
        {"cache": {"capacity": "30%", "eviction": "lfu"}},
        {"hardware": "v100-pcie-32gb"},
        {"runtime": {"name": "ideal", "overlap": "grouped"}},
        {"cache": {"capacity": "40%"}},
        {"cache": {"capacity": "30%", "scope": "layer"}},
    ):
        run(RunConfig.model_validate(once | change))
    assert len(found) == len(set(found)) == 5
