"""What docs/timing.md says of a runtime's own work: exact times, worked out by hand.

In all three readings. Unless a test says otherwise an expert is 100 bytes, the link moves 1 byte a
ns, attention takes 100, the gate 10 and one expert 50.
"""

from __future__ import annotations

import pytest
from by_hand import end, ends, recorded, saying, started
from harness import FixedCost, machine, make_trace, run_system, system
from readings import READINGS, read

from prefetch_sim.hardware_profiles import load_runtime, override
from prefetch_sim.sim.cost.runtime import RuntimeCost

MIB = 2**20
each = pytest.mark.parametrize("by", READINGS)


@each
def test_bookkeeping_is_done_once_all_has_been_computed(by: str) -> None:
    # Routed at 110: both are missing. They land at 210 and 310; computed at 260 and 360. Two times
    # 7 of bookkeeping, so the next layer begins at 374: routed at
    # 484, there at 584 and 684; 734, and 748.
    trace = make_trace([[[0, 1], [0, 1]]], 2, sizes=[100, 100])
    said = read(by, system(trace, machine(), capacity=400), FixedCost(2, miss=7))
    assert started(said) == {0: [110], 1: [210], 2: [484], 3: [584]}
    assert ends(said) == [374, 748]


@each
def test_a_hit_needs_no_bookkeeping(by: str) -> None:
    trace = make_trace([[[0]], [[0]]], 2, sizes=[100])
    said = read(by, system(trace, machine(), capacity=MIB), FixedCost(1, miss=7))
    first, second = ends(said)
    assert second - first == 100 + 10 + 50


@each
def test_a_late_prefetch_was_missing(by: str) -> None:
    # 0 is named at 0 and moves from there to 300; it is routed at 110. It lands, 50 of compute, 7.
    predictions = {"early": saying([[[0]]])}
    trace = make_trace([[[0]]], 2, sizes=[300], predictions=predictions)
    inputs = system(trace, machine(), capacity=600, predictors=recorded(early={}))
    said = read(by, inputs, FixedCost(1, miss=7))
    assert started(said) == {0: [0]}
    assert end(said) == 357


@each
@pytest.mark.parametrize("overlap", ["per_expert", "grouped", "none"])
def test_a_set_that_streams_is_booked_at_its_end(by: str, overlap: str) -> None:
    # One fits. 0 lands at 210 and is computed at 260, when 1 starts: 360, 410; twice 7.
    trace = make_trace([[[0]], [[1]]], 2, prompt=2, sizes=[100])
    inputs = system(trace, machine(), capacity=100, overlap=overlap)
    said = read(by, inputs, FixedCost(1, miss=7))
    assert started(said) == {0: [110], 1: [260]}
    assert end(said) == 424


@each
@pytest.mark.parametrize(("cost_us", "start"), [(0.263, 377), (0.267, 267)])
def test_a_set_is_pinned_until_its_bookkeeping_is_done(by: str, cost_us: float, start: int) -> None:
    # Room for one. 0 lands at 210 and is computed at 260, and booked at 267. 2 is named for the
    # next layer: at 263 nothing may go for it, so that it is not loaded before its demand at 377.
    predictions = {"next": saying([[[0], [0]]], distance=1)}
    trace = make_trace([[[0], [0]]], 2, sizes=[100, 100], predictions=predictions)
    predictors = recorded(next={"cost_us": cost_us})
    inputs = system(trace, machine(), capacity=100, predictors=predictors)
    said = read(by, inputs, FixedCost(2, miss=7))
    assert max(started(said)[2]) == start


@each
def test_each_of_three_copies_pays(by: str) -> None:
    # The first finds the link idle: 20 and 5 to issue it; two more 10 and 5 each; 100 of bytes. The
    # second expert's are all right behind: 3 x 15 and 100.
    trace = make_trace([[[0, 1]]], 2, sizes=[100])
    link = machine(isolated_us=0.02, back_to_back_us=0.01)
    runtime = {"load.copies": 3, "load.issue_us": 0.005}
    inputs = system(trace, link, capacity=200, runtime=runtime)
    said = read(by, inputs, FixedCost(1))
    assert started(said) == {0: [110], 1: [110 + 25 + 30 + 100]}
    assert end(said) == 110 + 25 + 30 + 100 + 45 + 100 + 50


@each
def test_a_chunk_pays_for_the_copies_that_it_takes(by: str) -> None:
    # 90 bytes go in three copies of 30; a chunk of 40 is of two, the rest, 10, of one.
    trace = make_trace([[[0]]], 2, sizes=[90])
    link = machine(isolated_us=0.02, back_to_back_us=0.01, chunk_mib=40 / MIB)
    inputs = system(trace, link, capacity=180, runtime={"load.copies": 3})
    said = read(by, inputs, FixedCost(1))
    first, others = 20 + 10 + 40, [10 + 10 + 40, 10 + 10]
    assert end(said) == 110 + first + sum(others) + 50


@each
def test_a_read_costs_the_runtime_too(by: str) -> None:
    # Two reads at once, of 100 bytes: the bus takes 200 each, each by itself 400. 30 of latency
    # and 12 of the runtime's. The second is through 400 after 110, or its bus, 400, whichever.
    trace = make_trace([[[0, 1]]], 2, sizes=[100])
    unified = machine(unified=True, storage={"latency_us": 0.03, "read_mib": 100 / MIB})
    inputs = system(trace, unified, capacity=200, runtime={"load.read_us": 0.012})
    said = read(by, inputs, FixedCost(1))
    assert end(said) == 110 + 400 + 42 + 50 + 50


def test_every_nanosecond_has_one_cause() -> None:
    trace = make_trace([[[0], [1]], [[1], [1]]], 2, sizes=[100, 100])
    _, told = run_system(system(trace, machine(), capacity=400), FixedCost(2, miss=7))
    assert told["runtime_ms"] == 3 * 7e-6
    parts = told["compute_ms"] + told["runtime_ms"] + sum(told["stall_ms"].values())
    assert round(parts, 6) == told["total_ms"]


@each
def test_what_landed_ahead_of_need_is_booked_by_the_next_layer_that_is_routed(by: str) -> None:
    # 4, of the third layer, is named at 0 and has landed at 100. The first layer, routed at 110,
    # misses: there at 210, computed at 260, and twice 7. The second hits nothing to be booked but
    # its own: 274 + 110 + 100 + 50 + 7 = 541. The third: 651, 701, and nothing.
    predictions = {"early": saying([[[-1], [-1], [0]]], distance=2)}
    trace = make_trace([[[0], [0], [0]]], 2, sizes=[100] * 3, predictions=predictions)
    inputs = system(trace, machine(), capacity=MIB, predictors=recorded(early={}))
    said = read(by, inputs, FixedCost(3, miss=7))
    assert started(said) == {0: [110], 2: [384], 4: [0]}
    assert ends(said) == [274, 541, 701]


def test_to_compute_beside_reads_costs_the_same_for_an_expert_of_any_size() -> None:
    ones = {"miss.us": 10, "miss.us_per_mib": 4, "miss.beside_us": 6}
    for overlap, ns in (("grouped", (14_000, 18_000)), ("per_expert", (20_000, 24_000))):
        runtime = override(load_runtime("ideal"), {**ones, "overlap": overlap})
        assert RuntimeCost.of(runtime, [MIB, 2 * MIB]).miss_ns == ns
