"""What docs/timing.md says of layers, sets that stream, predictors and stalls.

In all three readings: exact times, worked out by hand. Unless a test says otherwise an expert is
100 bytes, the link moves 1 byte a ns, attention takes 100, the gate 10 and one expert 50. "Once" is
what both engines gave while they had that fault.
"""

from __future__ import annotations

from typing import Any

import pytest
from by_hand import dispositions, end, ends, recorded, saying, started
from harness import FixedCost, machine, make_trace, system
from readings import READINGS, read

from prefetch_sim.sim.engine.load import DEMANDED, TIMELY

MIB = 2**20
pytestmark = pytest.mark.parametrize("by", READINGS)


# A set larger than the cache


def streaming(overlap: str, expert: int, **keys: Any) -> dict[str, Any]:
    """Four experts, one for each token of a prompt, through room for two of 1000 bytes."""
    trace = make_trace([[[e]] for e in range(4)], 4, sizes=[1000], prompt=4)
    inputs = system(trace, machine(), capacity=2000, overlap=overlap)
    return read(keys.pop("by"), inputs, FixedCost(1, attention=0, gate=0, expert=expert, **keys))


def test_an_expert_that_streams_makes_room_when_it_has_been_computed(by: str) -> None:
    # 0 computes from 1000 and 1 from 2000, each 1000 ns. 2 takes the place of 0 at 2000, and 3
    # that of 1 at 3000. Once 3 waited for both, and for 2 to land: from 4000 on, 6000.
    said = streaming("per_expert", 1000, by=by)
    assert started(said) == {0: [0], 1: [1000], 2: [2000], 3: [3000]}
    assert end(said) == 5000


def test_a_group_closes_when_none_of_its_set_moves(by: str) -> None:
    # {0, 1} at 2000, then both their rooms at once, at 2000 + 7 + 3 + 2 · 100: 2 and 3 until 4210,
    # then 3 + 200. Permuting, 7 ns, goes with the first group, each has a launch of 3.
    said = streaming("grouped", 100, by=by, launch=3, fixed=7)
    assert started(said) == {0: [0], 1: [1000], 2: [2210], 3: [3210]}
    assert end(said) == 4413


def test_a_group_does_not_wait_for_what_moves_for_other_layers(by: str) -> None:
    # Room for one expert of 100 bytes; 800 bytes for the next layer move in chunks of 100, the
    # first at 0. 0 is there at 200 and computed at 210, when the second chunk is in service; 1
    # follows at 300. Once it waited for all chunks: 900, and 1010.
    predictions = {"next": saying([[[-1], [0]], [[-1], [0]]], distance=1)}
    trace = make_trace([[[0], [0]], [[1], [0]]], 2, sizes=[100, 800], prompt=2,
                       predictions=predictions)  # fmt: skip
    inputs = system(
        trace,
        machine(chunk_mib=100 / MIB),
        capacity=[100, 800],
        overlap="grouped",
        predictors=recorded(next={}),
    )
    said = read(by, inputs, FixedCost(2, attention=0, gate=0, expert=10))
    assert started(said) == {0: [100], 1: [300], 2: [0]}
    assert ends(said)[0] == 410


def test_a_load_that_starts_at_the_landing_that_ends_a_layer_finds_it_unpinned(by: str) -> None:
    # Experts take no time. 0 lands at 210, which ends layer 0, and 2, named at 150, takes its
    # place: there at 310, routed at 320. Once it was dropped and demanded: 420.
    predictions = {"next": saying([[[-1], [0]]], trigger="gate_input", distance=1)}
    trace = make_trace([[[0], [0]]], 2, sizes=[100, 100], predictions=predictions)
    predictors = recorded(next={"cost_us": 0.05})
    inputs = system(trace, machine(), capacity=100, predictors=predictors)
    said = read(by, inputs, FixedCost(2, expert=0))
    assert dispositions(said) == {0: [DEMANDED], 2: [TIMELY]}
    assert ends(said) == [210, 320]


def test_a_prediction_that_ends_a_layer_finds_it_unpinned(by: str) -> None:
    # Experts take no time, and there is room for one. Of token 1, layer 0 is routed at 530, 0 is
    # there at 630, and the inline predictor at 830 the last thing computed. So 2 takes the place
    # of 0 at once, which needs no turn of the pass: there at 930, routed at 940.
    trace = make_trace([[[0], [0]], [[0], [0]]], 2, sizes=[100, 100])
    predictors = [("transition", {"cost_us": 0.3, "placement": "inline"})]
    inputs = system(trace, machine(), capacity=100, predictors=predictors)
    said = read(by, inputs, FixedCost(2, expert=0))
    assert started(said) == {0: [110, 530], 2: [320, 830]}
    assert ends(said) == [210, 420, 830, 940]


# Predictors


def test_predictors_of_one_trigger_fire_in_turn(by: str) -> None:
    # The inline one first, until 30; then the other, out at 50. One that says nothing is charged
    # nothing. Routed at 30 + 110.
    predictions = {
        "inline": saying([[[1]]]),
        "silent": saying([[[-1]]]),
        "side": saying([[[2]]]),
    }
    trace = make_trace([[[0]]], 3, sizes=[100], predictions=predictions)
    cost = {"cost_us": 0.03, "placement": "inline"}
    predictors = recorded(inline=cost, silent=cost, side={"cost_us": 0.02})
    inputs = system(
        trace,
        machine(),
        capacity=300,
        predictors=predictors,
        prefetch={"cancel_stale": False},
    )
    said = read(by, inputs, FixedCost(1))
    assert started(said) == {0: [230], 1: [30], 2: [130]}
    assert [row[5] for row in said["loads"]] == [140, 30, 50]
    assert end(said) == 140 + 190 + 50


def test_what_an_inline_predictor_takes_is_lead_time(by: str) -> None:
    # It names 0 at 0 and is out at 400. The layer is then routed 110 ns later, as soon as 0 can be
    # there. Once the 400 ns were taken off, so that nothing could land in time: 660.
    predictions = {"own": saying([[[0]]])}
    trace = make_trace([[[0]]], 1, sizes=[100], predictions=predictions)
    predictors = recorded(own={"cost_us": 0.4, "placement": "inline"})
    inputs = system(trace, machine(), capacity=100, policy="deadline-aware", predictors=predictors)
    assert end(read(by, inputs, FixedCost(1))) == 560


def test_a_layer_that_routes_nothing_is_charged_permuting_and_no_launch(by: str) -> None:
    trace = make_trace([[[0], [0]]], 1, sizes=[100, 100])
    trace.experts[0, 1] = -1
    for overlap in ("per_expert", "grouped"):
        inputs = system(trace, machine(), capacity=100, overlap=overlap)
        said = read(by, inputs, FixedCost(2, fixed=7, launch=3))
        assert ends(said)[1] - ends(said)[0] == 117


# What a timed policy is told


@pytest.mark.parametrize(("gate", "expected"), [(15, TIMELY), (14, DEMANDED)])
def test_a_load_is_as_long_as_its_chunks(by: str, gate: int, expected: int) -> None:
    # 40, 40 and 20 bytes at 5 ns each are 115; the layer is routed 100 ns and the gate's after 0.
    predictions = {"own": saying([[[0]]])}
    trace = make_trace([[[0]]], 1, sizes=[100], predictions=predictions)
    profile = machine(isolated_us=0.005, back_to_back_us=0.005, chunk_mib=40 / MIB)
    inputs = system(
        trace, profile, capacity=100, policy="deadline-aware", predictors=recorded(own={})
    )
    assert dispositions(read(by, inputs, FixedCost(1, gate=gate))) == {0: [expected]}


@pytest.mark.parametrize(("overlap", "launches"), [("per_expert", 2), ("grouped", 1)])
def test_the_lead_counts_launches_as_they_are(by: str, overlap: str, launches: int) -> None:
    # Layer 0 routes nothing now, but is expected to compute two experts.
    predictions = {"next": saying([[[-1, -1], [0, 1]]], distance=1)}
    lead = 110 + 100 + launches * 3 + 110
    for size, proposed in [(lead, 1), (lead + 1, 0)]:
        trace = make_trace([[[0, 1], [0, 1]]], 2, sizes=[size] * 2, predictions=predictions)
        trace.experts[0, 0] = -1
        inputs = system(
            trace,
            machine(),
            capacity=4 * size,
            overlap=overlap,
            policy="deadline-aware",
            predictors=recorded(next={}),
        )
        assert read(by, inputs, FixedCost(2, launch=3))["proposed"] == proposed


@pytest.mark.parametrize(
    ("overlap", "end_ns", "waits"),
    [("per_expert", 360, 50 + 60), ("grouped", 410, 160), ("none", 450, 200)],
)
def test_shared_experts_compute_beside_loads_unless_nothing_does(
    by: str, overlap: str, end_ns: int, waits: int
) -> None:
    # Both are demanded at 110 and land at 210 and 310. The shared ones take 40: from 110 on, or,
    # with none, from 310 on, before the two.
    trace = make_trace([[[0, 1]]], 2, sizes=[100])
    said = read(
        by, system(trace, machine(), capacity=200, overlap=overlap), FixedCost(1, shared=40)
    )
    assert said["layers"][0][8] == end_ns
    assert sum(said["layers"][0][9:]) == waits
    # Where the set does not fit, the first group
    # has the shared ones, and the next load starts behind it.
    tight = system(trace, machine(), capacity=100, overlap=overlap)
    last = {"per_expert": 410, "grouped": 410, "none": 450}[overlap]
    assert read(by, tight, FixedCost(1, shared=40))["layers"][0][8] == last


# Stalls


def test_each_landing_ends_a_span(by: str) -> None:
    # Both are demanded at 110 and computed at 310: 1 queued while the pass waited for 0.
    trace = make_trace([[[0, 1]]], 2, sizes=[100])
    said = read(by, system(trace, machine(), capacity=200, overlap="grouped"), FixedCost(1))
    assert said["layers"][0][7:] == [110, 410, 200, 0, 0, 0, 0]
