"""What docs/timing.md says of loads: their order, their room, how they end.

In all three readings: exact times, worked out by hand. Unless a test says otherwise an expert is
100 bytes, the link moves 1 byte a ns, attention takes 100, the gate 10 and one expert 50. "Once" is
what both engines gave while they had that fault.
"""

from __future__ import annotations

import pytest
from by_hand import dispositions, end, ends, recorded, saying, started
from harness import FixedCost, machine, make_trace, system
from readings import READINGS, read

from prefetch_sim.sim.engine.load import (
    CANCELLED,
    DEMANDED,
    DISPOSITIONS,
    DROPPED,
    LATE,
    TIMELY,
    USELESS,
)

MIB = 2**20
pytestmark = pytest.mark.parametrize("by", READINGS)


# Nothing leaves any tier unless the load starts


def test_a_dropped_prefetch_evicts_nothing_from_host_memory(by: str) -> None:
    # Host memory has 0 and 2. 0 is demanded at 110; at 120 3 is named for the next layer, and the
    # one room of the cache is held. Layer 1 then has 2 from host memory: routed at 370, there at
    # 470. Once 2 made room for 3 all the same and was read again: 920.
    predictions = {"wrong": saying([[[-1], [1]]], trigger="gate_input", distance=1)}
    trace = make_trace([[[0], [0]]], 2, sizes=[100, 100], predictions=predictions)
    predictors = recorded(wrong={"cost_us": 0.02})
    inputs = system(trace, machine(), capacity=100, host=200, predictors=predictors)
    said = read(by, inputs, FixedCost(2))
    assert dispositions(said) == {0: [DEMANDED], 2: [DEMANDED], 3: [DROPPED]}
    assert end(said) == 520


def test_a_demand_that_waits_evicts_nothing_from_host_memory(by: str) -> None:
    # Host memory has 0 and 3. From 0 on 2 is read, in 1000 ns, in the place of 0. It has the only
    # room that the cache has for layer 0, so 1, demanded at 110, waits; 3 stays and is prefetched
    # at 500 over an idle link. Once it had left for 1, and was read again: 300 bytes.
    predictions = {
        "wrong": saying([[[2], [-1]]]),
        "right": saying([[[-1], [0]]], trigger="gate_input", distance=1),
    }
    trace = make_trace([[[1], [0]]], 3, sizes=[100, 100], predictions=predictions)
    inputs = system(
        trace,
        machine(storage={"stream_gb_s": 0.1}),
        capacity=[100, 200],
        host=200,
        predictors=recorded(wrong={}, right={"cost_us": 0.4}),
        prefetch={"cancel_stale": False},
    )
    said = read(by, inputs, FixedCost(2))
    assert started(said) == {1: [1100], 2: [0], 3: [500]}
    assert ends(said) == [2250, 2410]
    assert [sum(moved) for moved in said["moved_bytes"]] == [200, 300]


def test_a_queued_prefetch_holds_up_no_demand(by: str) -> None:
    # Host memory has 0 and 2. 2 moves from 0 to 1000, and 0 waits behind it. 1, demanded at 110,
    # takes the place of 0 at once: 400 ns of reading, and the link at 1000. 0 then waits at
    # storage, where it finds no room. Once 1 waited for 2 to land: from 1000 on, 3050.
    predictions = {
        "next": saying([[[-1], [0]]], distance=1),
        "wrong": saying([[[0], [-1]]]),
    }
    trace = make_trace([[[1], [0]]], 2, sizes=[100, 100], predictions=predictions)
    inputs = system(
        trace,
        machine(gb_s=0.1),
        capacity=400,
        host=200,
        predictors=recorded(next={}, wrong={}),
        prefetch={"cancel_stale": False},
    )
    said = read(by, inputs, FixedCost(2))
    assert started(said) == {0: [-1], 1: [110], 2: [0]}
    assert dispositions(said) == {0: [DROPPED], 1: [DEMANDED], 2: [TIMELY]}
    assert ends(said) == [2050, 2210]


def test_a_queued_prefetch_keeps_its_expert_from_other_prefetches(by: str) -> None:
    # As above, but 1 is only named, for an expert that is not routed: it finds no room, and 0 comes
    # from host memory when 2 has landed.
    predictions = {
        "next": saying([[[-1], [0]]], distance=1),
        "both": saying([[[0, 1], [-1, -1]]]),
    }
    trace = make_trace([[[0], [0]]], 2, sizes=[100, 100], predictions=predictions)
    inputs = system(
        trace,
        machine(gb_s=0.1),
        capacity=400,
        host=200,
        predictors=recorded(next={}, both={}),
        prefetch={"extra": 1},
    )
    said = read(by, inputs, FixedCost(2))
    assert dispositions(said) == {0: [LATE], 1: [DROPPED], 2: [TIMELY]}
    assert ends(said) == [2050, 2210]


# A later prediction cancels what it does not name


@pytest.mark.parametrize(
    ("policy", "size", "expected"),
    # 0 and 1 are named at 0, and 1 waits behind 0. At 40 it is named again, but not proposed: its
    # score is too low, or the backlog too long. It goes on waiting and lands at 200, or at 140 and
    # so before it is routed, at 150. Once it was cancelled and loaded from 150 on: 300, and 270.
    [("threshold", 100, 250), ("deadline-aware", 70, 200)],
)
def test_what_a_later_prediction_names_is_not_cancelled(
    by: str, policy: str, size: int, expected: int
) -> None:
    predictions = {
        "first": saying([[[0, 1]]]),
        "second": saying([[[1, 2]]], [[[0.3, 0.2]]], trigger="gate_input"),
    }
    trace = make_trace([[[1]]], 3, sizes=[size], predictions=predictions)
    inputs = system(
        trace,
        machine(),
        capacity=3 * size,
        policy=policy,
        predictors=recorded(first={}, second={}),
        prefetch={"extra": 1},
    )
    said = read(by, inputs, FixedCost(1, attention=40, gate=110))
    assert started(said)[1] == [size]
    assert end(said) == expected


def test_what_is_cancelled_is_no_backlog(by: str) -> None:
    # 0 and 1 are named at 0, and 0 moves. At 40 the other predictor names 2 alone: 1 is cancelled,
    # so that 2 is 70 + 70 from landing, and is routed 150 ns later. With 1 in the way, as it
    # once was: 210, so that 2 is demanded at 190, and 310.
    predictions = {
        "first": saying([[[0, 1]]]),
        "second": saying([[[2, -1]]], trigger="gate_input"),
    }
    trace = make_trace([[[2]]], 3, sizes=[70], predictions=predictions)
    inputs = system(
        trace,
        machine(),
        capacity=210,
        policy="deadline-aware",
        predictors=recorded(first={}, second={}),
        prefetch={"extra": 1},
    )
    said = read(by, inputs, FixedCost(1, attention=40, gate=150))
    assert dispositions(said) == {0: [USELESS], 1: [CANCELLED], 2: [TIMELY]}
    assert end(said) == 240


# The order of loads


def test_promoted_loads_come_before_those_just_demanded(by: str) -> None:
    # 3 moves, 2 is queued. Routed at 50: 0, 1, 2. 2 has been waiting since 0.
    predictions = {"some": saying([[[3, 2, -1]]])}
    trace = make_trace([[[0, 1, 2]]], 4, sizes=[100], predictions=predictions)
    inputs = system(trace, machine(), capacity=400, predictors=recorded(some={}))
    said = read(by, inputs, FixedCost(1, attention=40))
    assert started(said) == {0: [200], 1: [300], 2: [100], 3: [0]}
    assert dispositions(said)[2] == [LATE]  # even if nothing of it had moved
    # 2, 0 and 1 land at 200, 300 and 400; each computes 50 ns as it lands.
    assert said["layers"][0][8:] == [450, 100, 100, 50, 0, 0]


def test_a_queued_prefetch_takes_the_better_order(by: str) -> None:
    # 0 moves; 1 is queued as an extra, then 2, for a later layer but in the top-k, so before it.
    # Named again, in the top-k, 1 goes before 2: its layer comes first.
    predictions = {
        "first": saying([[[0, 1], [-1, -1]]]),
        "next": saying([[[-1, -1], [0, -1]]], distance=1),
        "again": saying([[[1, -1], [-1, -1]]], trigger="gate_input"),
    }
    trace = make_trace([[[1], [0]]], 2, sizes=[100, 100], predictions=predictions)
    for again, expected in [(False, [200, 100]), (True, [100, 200])]:
        names = ["first", "next", "again"][: 2 + again]
        inputs = system(
            trace,
            machine(),
            capacity=400,
            predictors=recorded(**{name: {} for name in names}),
            prefetch={"extra": 1, "cancel_stale": False},
        )
        said = read(by, inputs, FixedCost(2, attention=50, gate=400))
        assert [*started(said)[1], *started(said)[2]] == expected
        assert said["dispositions"][0][DISPOSITIONS.index("redundant")] == again


def test_only_what_has_begun_goes_on_beside_a_demand_that_waits(by: str) -> None:
    # 1 is read from 0 to 1000 into the only room of layer 0, so 0, demanded at 110, waits. There is
    # room for 2 in layer 1, and a free lane, but 2 does not begin before 0.
    predictions = {
        "wrong": saying([[[1], [-1]]]),
        "next": saying([[[-1], [0]]], distance=1),
    }
    trace = make_trace([[[0], [0]]], 2, sizes=[100, 100], predictions=predictions)
    inputs = system(
        trace,
        machine(unified=True, storage={"stream_gb_s": 0.1}),
        capacity=[100, 100],
        predictors=recorded(wrong={}, next={"cost_us": 0.2}),
    )
    said = read(by, inputs, FixedCost(2))
    assert started(said) == {0: [1000], 1: [0], 2: [1000]}


def test_loads_from_storage_start_first(by: str) -> None:
    # 2 is in host memory, 3 is not, and the cache has room for one: 2 finds none.
    predictions = {"both": saying([[[-1, -1], [0, 1]]], distance=1)}
    trace = make_trace([[[0], [0]]], 2, sizes=[100, 100], predictions=predictions)
    predictors = recorded(both={})
    inputs = system(
        trace, machine(), capacity=100, host=200, predictors=predictors, prefetch={"extra": 1}
    )
    said = read(by, inputs, FixedCost(2))
    assert started(said)[3] == [0]
    assert dispositions(said)[2] == [DEMANDED, DROPPED]


def test_a_use_of_host_memory_is_a_load_from_there(by: str) -> None:
    # It begins with 0 and 1. The first token loads 0, so 1 makes room for 2, and 0 is still there:
    # 400 ns of reading in all.
    trace = make_trace([[[0]], [[2]], [[0]]], 3, sizes=[100])
    said = read(by, system(trace, machine(), capacity=100, host=200), FixedCost(1))
    assert said["moved_bytes"] == [[100, 0, 0], [300, 0, 0]]
    assert end(said) == 3 * (110 + 100 + 50) + 400


def test_reads_that_wait_for_the_link_go_as_one(by: str) -> None:
    # Reads of 25 bytes take 50 ns on the bus, at 0.5 bytes a ns; the link, of 10 ns and 1 byte a
    # ns, gets the first at 160 and the others each 50 ns later: none waits for another. With a
    # start of 60 ns a transfer takes 85: 160 to 245, then 25 from 245, then both others at once.
    storage = {"read_mib": 25 / MIB, "stream_gb_s": 0.5, "queue_depth": 1}
    trace = make_trace([[[1]]], 2, sizes=[100])
    for isolated, landed in [(0.01, 345), (0.06, 440)]:
        profile = machine(isolated_us=isolated, back_to_back_us=isolated, storage=storage)
        said = read(by, system(trace, profile, capacity=100, host=100), FixedCost(1))
        assert end(said) == landed + 50


def test_what_is_queued_when_the_run_ends_is_cancelled(by: str) -> None:
    # The second token begins at 1160 and ends at 1320; 1 then moves, 2 and 3 have not begun.
    predictions = {"wrong": saying([[[-1, -1, -1]], [[1, 2, 3]]])}
    trace = make_trace([[[0]], [[0]]], 4, sizes=[1000], predictions=predictions)
    prefetch = {"cancel_stale": False, "extra": 2}
    predictors = recorded(wrong={})
    inputs = system(trace, machine(), capacity=4000, predictors=predictors, prefetch=prefetch)
    said = read(by, inputs, FixedCost(1))
    assert end(said) == 1320
    assert dispositions(said) == {0: [DEMANDED], 1: [USELESS], 2: [CANCELLED], 3: [CANCELLED]}


def test_shares_of_a_read_are_rounded_one_by_one(by: str) -> None:
    # 5 bytes at 0.4 bytes a ns are 12.5, so 12; a latency of 2.5 ns is 2. Of a transfer the sum is
    # rounded: 2.5 and 12.5 are 15.
    disk = {"gb_s": 0.4, "stream_gb_s": 0.4, "latency_us": 0.0025}
    trace = make_trace([[[0]]], 1, sizes=[5])
    unified = system(trace, machine(unified=True, storage=disk), capacity=5)
    assert end(read(by, unified, FixedCost(1))) == 110 + 12 + 2 + 50
    link = system(trace, machine(gb_s=0.4, isolated_us=0.0025), capacity=5)
    assert end(read(by, link, FixedCost(1))) == 110 + 15 + 50
