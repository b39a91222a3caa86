"""Exact times of small systems, worked out by hand. All durations in ns, sizes in bytes.

Unless a test says otherwise an expert is 100 bytes, the link moves 1 byte a ns, attention takes
100, the gate 10 and one expert 50: a layer whose experts are resident takes 160.
"""

from __future__ import annotations

from typing import Any

import pytest
from harness import FixedCost, machine, make_trace, run_system, system

from prefetch_sim.sim.engine.load import CANCELLED, DEMANDED, DISPOSITIONS, LATE, TIMELY, USELESS
from prefetch_sim.traces.format import PredictionInfo

C = 2**20  # ns of one 1 MiB chunk at 1 GB/s


def recorded(distance: int = 0, trigger: str = "layer_start") -> PredictionInfo:
    return PredictionInfo(
        trigger=trigger, distance=distance, flops=1.0, bytes=0, description="by hand"
    )


def outcome(done: Any) -> dict[int, int]:
    """How the load of each expert ended."""
    table = done.loads
    return dict(zip(table.column("expert").tolist(), table.column("disposition").tolist()))


def total_ns(done: Any) -> int:
    return int(done.steps.column("end")[-1])


@pytest.mark.parametrize("overlap", ["per_expert", "grouped"])
def test_everything_resident_is_the_sum_of_compute(overlap: str) -> None:
    trace = make_trace([[[0, 1], [1, 2]], [[2, 0], [0, 1]]], 3, sizes=[100, 100])
    cost = FixedCost(2, shared=7, launch=3, epilogue=11)
    inputs = system(trace, machine(), capacity=600, cache={"warm": "first"}, overlap=overlap)
    done, results = run_system(inputs, cost)
    launches = 2 * 3 if overlap == "per_expert" else 3
    layer = 100 + 10 + 7 + 2 * 50 + launches
    assert total_ns(done) == 2 * (2 * layer + 11)
    assert results["loads"] == 0
    assert results["total_ms"] == results["compute_ms"]
    total = results["total_ms"]
    assert results["bounds_ms"] == {"compute": total, "link": 0.0, "clairvoyant": total}
    assert results["hit_rate"]["all"] == 1.0


def test_one_slot_without_prefetch_is_compute_and_every_load_in_series() -> None:
    trace = make_trace([[[0], [1]], [[2], [1]], [[2], [0]]], 3, sizes=[100, 100])
    profile = machine(isolated_us=0.005)
    done, results = run_system(system(trace, profile, capacity=100), FixedCost(2))
    assert total_ns(done) == 6 * 160 + 6 * (100 + 5)
    assert results["loads"] == 6
    assert results["stall_ms"]["demand_miss"] == pytest.approx(6 * 105 / 1e6)


def two_layer_case(**config: Any) -> Any:
    """One token, two layers of three experts; a recorded predictor names three and one.

    t=0    layer 0 predicts 0, 1, 2; the link takes 0 (until 100)
    t=100  0 lands; the link takes 1 (until 200)
    t=110  layer 0 is routed to 0: a hit, timely; 2 is still queued: cancelled
    t=160  layer 1 predicts 4; the link is busy with 1
    t=200  1 lands, for nothing; the link takes 4 (until 300)
    t=270  layer 1 is routed to 4, in flight: late
    t=300  4 lands after a stall of 30; its 50 of compute end at 350
    """
    named = [[[0, 1, 2], [1, -1, -1]]]
    scores = [[[0.9, 0.5, 0.4], [0.9, 0.0, 0.0]]]
    trace = make_trace(
        [[[0], [1]]], 3, sizes=[100, 100], predictions={"p": (recorded(), named, scores)}
    )
    inputs = system(
        trace,
        machine(),
        capacity=600,
        predictors=[("recorded", {"column": "p", "cost_us": 0.0})],
        prefetch={"extra": 2, **config},
    )
    return run_system(inputs, FixedCost(2))


def test_two_layers_with_a_timely_a_late_a_cancelled_and_a_useless_prefetch() -> None:
    done, results = two_layer_case()
    assert total_ns(done) == 350
    assert outcome(done) == {0: TIMELY, 1: USELESS, 2: CANCELLED, 4: LATE}
    assert done.layers.table().tolist() == [
        [0, 0, 1, 1, 0, 0, 0, 110, 160, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 1, 0, 160, 270, 350, 0, 30, 0, 0, 0],
    ]
    counts = results["prefetch"]
    assert sum(counts[d] for d in DISPOSITIONS) == counts["proposed"] == 4
    assert results["bytes"]["host_to_gpu"] == {"demand": 0, "prefetch": 300, "behind": 0}


def test_without_cancelling_the_stale_prefetch_goes_first_and_costs_its_time() -> None:
    # 2 is sent at 200..300 before 4 (an extra, but queued for the nearer layer-step)? No: 4 has
    # priority 0 and 2 priority 1, so 4 goes at 200 as before, and 2 after it.
    done, results = two_layer_case(cancel_stale=False)
    assert total_ns(done) == 350
    assert outcome(done)[2] == USELESS
    assert results["prefetch"]["cancelled"] == 0


def test_a_demand_waits_for_the_transfer_in_service_and_no_longer() -> None:
    # Prefetch of 1 (wrong) occupies the link 0..100, then 2 (wrong) 100..200. Demand for 0 at
    # 110 waits until 200 (queueing 90), moves until 300; both prefetches are useless.
    named, scores = [[[1, 2]]], [[[0.9, 0.5]]]
    trace = make_trace([[[0]]], 3, sizes=[100], predictions={"p": (recorded(), named, scores)})
    inputs = system(
        trace,
        machine(),
        capacity=300,
        predictors=[("recorded", {"column": "p", "cost_us": 0.0})],
        prefetch={"extra": 1},
    )
    done, results = run_system(inputs, FixedCost(1))
    assert total_ns(done) == 350
    assert results["stall_ms"] == {
        "demand_miss": 100 / 1e6,
        "late_prefetch": 0.0,
        "queueing": 90 / 1e6,
        "storage": 0.0,
        "cpu": 0.0,
    }
    assert outcome(done) == {0: DEMANDED, 1: USELESS, 2: USELESS}


def test_chunks_are_the_unit_of_waiting() -> None:
    # Experts of 4 MiB in chunks of 1: the demand waits for one chunk of the wrong prefetch.
    named, scores = [[[1]]], [[[0.9]]]
    trace = make_trace([[[0]]], 2, sizes=[4 * C], predictions={"p": (recorded(), named, scores)})
    inputs = system(
        trace,
        machine(chunk_mib=1),
        capacity=8 * C,
        predictors=[("recorded", {"column": "p", "cost_us": 0.0})],
    )
    done, results = run_system(inputs, FixedCost(1))
    assert total_ns(done) == 5 * C + 50
    assert results["stall_ms"]["queueing"] == pytest.approx((C - 110) / 1e6)
    # The run ends with the wrong prefetch under way: its chunk, and the one begun at 5 C.
    assert results["bytes"]["host_to_gpu"] == {"demand": 4 * C, "prefetch": C, "behind": 0}
    assert results["link_busy"] == {"host_link": pytest.approx(5 * C / (5 * C + 50), abs=1e-6)}


def test_back_to_back_transfers_pay_the_smaller_overhead() -> None:
    trace = make_trace([[[0, 1]]], 2, sizes=[100])
    profile = machine(isolated_us=0.030, back_to_back_us=0.002)
    done, _ = run_system(system(trace, profile, capacity=200), FixedCost(1))
    # 0 lands at 110 + 130, 1 at + 102; 0 computes meanwhile, 1 after it has landed.
    assert total_ns(done) == 110 + 130 + 102 + 50


def test_resident_experts_compute_while_the_missing_one_loads() -> None:
    trace = make_trace([[[0, 1]], [[0, 2]]], 3, sizes=[100])
    done, _ = run_system(system(trace, machine(), capacity=300), FixedCost(1))
    # Step 0: 110 + loads until 310 + 50. Step 1: 0 computes 470..520, 2 lands at 570, + 50.
    assert done.steps.column("end").tolist() == [360, 620]
    grouped, _ = run_system(system(trace, machine(), capacity=300, overlap="grouped"), FixedCost(1))
    # All together once all are there: 310 + 100, and 520 + 100 + 100.
    assert grouped.steps.column("end").tolist() == [410, 720]


def test_storage_feeds_the_link_chunk_by_chunk() -> None:
    # Two lanes, a bus of 0.5 and streams of 0.25 bytes a ns. From 110: reads 1 and 2 end at 4 C,
    # 3 and 4 at 8 C; the link sends them at 4..6 C and 8..10 C.
    trace = make_trace([[[0]]], 2, sizes=[4 * C])
    inputs = system(trace, machine(), capacity=8 * C, host=4 * C)
    # The host's one place is taken by expert 0 from the start: ask for the other.
    done, results = run_system(inputs, FixedCost(1))
    assert total_ns(done) == 110 + 4 * C + 50
    other = make_trace([[[1]]], 2, sizes=[4 * C])
    done, results = run_system(system(other, machine(), capacity=8 * C, host=4 * C), FixedCost(1))
    assert total_ns(done) == 110 + 10 * C + 50
    assert results["stall_ms"]["storage"] == pytest.approx(8 * C / 1e6)
    assert results["stall_ms"]["demand_miss"] == pytest.approx(2 * C / 1e6)
    assert results["bytes"]["storage"] == results["bytes"]["host_to_gpu"]
    total = 160 + 10 * C
    busy = {"storage": 8 * C / total, "host_link": 4 * C / total}
    assert results["link_busy"] == pytest.approx(busy, abs=1e-6)


def test_unified_memory_loads_from_storage_alone() -> None:
    trace = make_trace([[[1]]], 2, sizes=[4 * C])
    inputs = system(trace, machine(unified=True), capacity=8 * C)
    done, results = run_system(inputs, FixedCost(1))
    assert total_ns(done) == 110 + 8 * C + 50
    assert results["stall_ms"]["storage"] == pytest.approx(8 * C / 1e6)
    assert results["bytes"]["host_to_gpu"] == {"demand": 0, "prefetch": 0, "behind": 0}


@pytest.mark.parametrize("overlap", ["per_expert", "grouped"])
def test_a_prefill_set_larger_than_the_cache_streams_through(overlap: str) -> None:
    # Two tokens, two experts, room for one: 0 loads 110..210, computes to 260 and makes room;
    # 1 loads 260..360 and computes to 410.
    trace = make_trace([[[0]], [[1]]], 2, sizes=[100], prompt=2)
    inputs = system(trace, machine(), capacity=100, overlap=overlap)
    done, results = run_system(inputs, FixedCost(1))
    assert total_ns(done) == 410
    assert results["ttft_ms"]["mean"] == pytest.approx(410 / 1e6)
    assert results["stall_ms"]["demand_miss"] == pytest.approx(200 / 1e6)


def test_an_inline_predictor_takes_compute_time_and_a_side_one_does_not() -> None:
    named, scores = [[[0]]], [[[0.9]]]
    trace = make_trace([[[0]]], 2, sizes=[60], predictions={"p": (recorded(), named, scores)})

    def end(**params: Any) -> int:
        predictors = [("recorded", {"column": "p", **params})]
        inputs = system(trace, machine(), capacity=200, predictors=predictors)
        return total_ns(run_system(inputs, FixedCost(1, predictor=30))[0])

    assert end() == 160  # out at 30, landed at 90, routed at 110
    assert end(placement="inline") == 190  # all of it 30 later
    assert end(cost_us=0.06) == 170  # out at 60, landed at 120, routed at 110: 10 late
    assert end(cost_us=0.12) == 220  # out after the layer was routed: nothing to propose


def test_a_predictor_fires_once_its_input_is_there() -> None:
    # Dense layers until 40, the input norm until 60, then the predictor: out at 90. The load of
    # 59 lands at 149, before the layer is routed (40 + 100 + 10): timely. Inline: 30 later.
    named, scores = [[[0]]], [[[0.9]]]
    trace = make_trace([[[0]]], 2, sizes=[59], predictions={"p": (recorded(), named, scores)})
    for placement, end in (("side", 200), ("inline", 230)):
        predictors = [("recorded", {"column": "p", "placement": placement})]
        inputs = system(trace, machine(), capacity=200, predictors=predictors)
        done, _ = run_system(inputs, FixedCost(1, norm=20, prologue=40, predictor=30))
        assert total_ns(done) == end
        assert outcome(done) == {0: TIMELY}
        assert done.loads.column("issued").tolist() == [90]


def test_deadline_aware_counts_from_when_the_prediction_is_out() -> None:
    # Routed at 110; out at 30 with 80 left: a load of 80 is proposed, one of 81 is not.
    named, scores = [[[0]]], [[[0.9]]]
    for size, proposed in ((80, 1), (81, 0)):
        trace = make_trace([[[0]]], 2, sizes=[size], predictions={"p": (recorded(), named, scores)})
        inputs = system(
            trace,
            machine(),
            capacity=200,
            policy="deadline-aware",
            predictors=[("recorded", {"column": "p"})],
        )
        _, results = run_system(inputs, FixedCost(1, predictor=30))
        assert results["prefetch"]["proposed"] == proposed


def test_grouped_dispatch_waits_with_the_group() -> None:
    trace = make_trace([[[0, 1]]], 2, sizes=[100])
    cost = FixedCost(1, fixed=500)
    apart, _ = run_system(system(trace, machine(), capacity=200), cost)
    assert total_ns(apart) == 110 + 500 + 2 * 50  # loads hide behind the dispatch
    grouped, _ = run_system(system(trace, machine(), capacity=200, overlap="grouped"), cost)
    assert total_ns(grouped) == 110 + 2 * 100 + 500 + 2 * 50


def test_a_late_near_prediction_takes_back_an_early_distant_one() -> None:
    # The distant predictor names 4, 5, 7 for layer 1 at t=0. Link: 4 at 0..400, the demanded 0 at
    # 400..800, 5 at 800..1200. Layer 1 starts at 850 and the near predictor names 6: 7, still
    # queued, is cancelled; 6 goes at 1200, after its layer was routed at 960.
    far = ([[[-1, -1, -1], [0, 1, 3]]], [[[0.0, 0.0, 0.0], [0.5, 0.4, 0.3]]])
    near = ([[[-1, -1, -1], [2, -1, -1]]], [[[0.0, 0.0, 0.0], [0.9, 0.0, 0.0]]])
    trace = make_trace(
        [[[0], [2]]],
        4,
        sizes=[400, 400],
        predictions={"far": (recorded(1), *far), "near": (recorded(0), *near)},
    )
    inputs = system(
        trace,
        machine(),
        capacity=3200,
        predictors=[
            ("recorded", {"column": "far", "cost_us": 0.0}),
            ("recorded", {"column": "near", "cost_us": 0.0}),
        ],
        prefetch={"extra": 2},
    )
    done, _ = run_system(inputs, FixedCost(2))
    assert outcome(done) == {4: USELESS, 0: DEMANDED, 5: USELESS, 7: CANCELLED, 6: LATE}
    assert total_ns(done) == 1650


def test_time_per_output_token_counts_the_prefill_of_others() -> None:
    # Two places. The second request ends with its first output token, and the third is prefilled
    # between the first's first and second.
    trace = make_trace([[[0]]] * 8, 2, sizes=[100], prompt=1, requests=[4, 2, 2])
    inputs = system(trace, machine(), capacity=200, batch_size=2, cache={"warm": "first"})
    done, results = run_system(inputs, FixedCost(1))
    assert done.steps.column("prefill").tolist() == [1, 0, 1, 0, 0]
    assert done.steps.column("requests").tolist() == [2, 2, 1, 2, 1]
    # Two tokens on one expert: 100 + 10 + 2 * 50; one token: 160.
    assert done.steps.column("end").tolist() == [210, 420, 580, 790, 950]
    between = [420 - 210, 790 - 420, 950 - 790, 420 - 210, 790 - 580]
    assert results["tpot_ms"]["mean"] == pytest.approx(sum(between) / 5 / 1e6, abs=1e-6)
    assert results["tpot_ms"]["p50"] == pytest.approx(210 / 1e6)
    assert results["ttft_ms"]["mean"] == pytest.approx((210 + 210 + 160) / 3 / 1e6, abs=1e-6)
    assert results["tokens_per_s"] == pytest.approx(8 / 950e-9)


def test_host_memory_keeps_what_was_read() -> None:
    # One place in the cache, two in the host (0 and 1). 2 comes from storage and takes 0's
    # place there; 1 then comes over the link alone.
    size = C
    trace = make_trace([[[2]], [[1]]], 3, sizes=[size])
    inputs = system(trace, machine(), capacity=size, host=2 * size)
    done, results = run_system(inputs, FixedCost(1))
    read = max(2 * C, 4 * C) + C
    assert done.steps.column("end").tolist() == [160 + read, 320 + read + C]
    assert results["bytes"]["storage"] == {"demand": C, "prefetch": 0, "behind": 0}


def test_a_prefetch_evicted_before_its_use_is_useless() -> None:
    # Room for two. 1 is prefetched for nothing at 0..100; the demanded 0 takes the second place;
    # in the next step 2 needs room and 1, unused, is the least recent.
    named = [[[1]], [[-1]]]
    scores = [[[0.9]], [[0.0]]]
    trace = make_trace(
        [[[0]], [[2]]], 3, sizes=[100], predictions={"p": (recorded(), named, scores)}
    )
    inputs = system(
        trace,
        machine(),
        capacity=200,
        predictors=[("recorded", {"column": "p", "cost_us": 0.0})],
    )
    done, results = run_system(inputs, FixedCost(1))
    assert results["prefetch"]["useless"] == 1
    settled = dict(zip(done.loads.column("expert").tolist(), done.loads.column("settled").tolist()))
    assert settled[1] == 260 + 110  # when 2's load begins, not when the run ends


def test_host_memory_lets_its_least_recently_used_go() -> None:
    # Host memory holds experts 0 and 1 of one layer, the cache one. 0 is used again, so 1 leaves
    # for 2, and only 2 and, at the end, 1 come from storage.
    trace = make_trace([[[0]], [[1]], [[0]], [[2]], [[0]], [[1]]], 3, sizes=[100])
    inputs = system(trace, machine(), capacity=100, host=200)
    _, results = run_system(inputs, FixedCost(1))
    assert results["loads"] == 6
    assert sum(results["bytes"]["storage"].values()) == 2 * 100
