"""What docs/timing.md says of what computes beside loads: exact times, worked out by hand.

In all three readings. An expert is 100 bytes, the link moves 1 byte a ns, attention takes 100, the
gate 10 and one expert 80; twice as long beside loads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from by_hand import end, recorded, saying, started
from harness import FixedCost, machine, make_trace, system
from hypothesis import given
from readings import READINGS, read
from test_properties import EXAMPLES, Small, smalls, total_ns

from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup.inputs import load

each = pytest.mark.parametrize("by", READINGS)


def cost(layers: int, **durations: int) -> FixedCost:
    return FixedCost(layers, slowed=2, **{"expert": 80, **durations})


def of_layers(said: dict[str, Any]) -> list[tuple[int, int, int]]:
    """[layer-step]: start, routed, end."""
    return [(row[6], row[7], row[8]) for row in said["layers"]]


@each
def test_what_is_there_computes_beside_what_is_not(by: str) -> None:
    # Routed at 110. The shared experts, 40, and 0 take 160 until 310; 1 is there at 210, and 2,
    # still to come then, slows it: until 470. 2 lands at 310 and slows nothing: 550. The head: 7.
    trace = make_trace([[[0, 1, 2]]], 4, sizes=[100])
    said = read(
        by, system(trace, machine(), capacity=300, static=[0]), cost(1, shared=20, epilogue=7)
    )
    assert started(said) == {1: [110], 2: [210]}
    assert of_layers(said) == [(0, 110, 550)]
    assert end(said) == 557


@each
def test_a_set_that_waits_for_all_computes_beside_none(by: str) -> None:
    # The shared experts alone do, until 150; both are there at 310, then 9 of permuting and 3 · 80.
    trace = make_trace([[[0, 1, 2]]], 4, sizes=[100])
    inputs = system(trace, machine(), capacity=300, overlap="grouped", static=[0])
    assert end(read(by, inputs, cost(1, shared=20, fixed=9))) == 310 + 9 + 240


@each
def test_a_group_of_a_set_that_streams_is_beside_those_still_to_come(by: str) -> None:
    # Two of four experts fit. {0, 1} are there at 310 and 2 and 3 wait: 320, until 630. {2, 3} are
    # the last, at 830: 160.
    trace = make_trace([[[e]] for e in range(4)], 4, sizes=[100], prompt=4)
    inputs = system(trace, machine(), capacity=200, overlap="grouped")
    said = read(by, inputs, cost(1))
    assert started(said) == {0: [110], 1: [210], 2: [630], 3: [730]}
    assert end(said) == 830 + 160


@each
def test_a_layer_is_beside_the_prefetch_that_moves_when_it_starts(by: str) -> None:
    # Of the next layer, 300 bytes, named at 0: it moves when layer 0 is routed, at 110, so 0 takes
    # 160. Layer 1 starts at 270, beside it, and keeps at that when it is there, at 300: 220, routed
    # at 490, when nothing moves any more.
    predictions = {"next": saying([[[-1], [0]]], distance=1)}
    trace = make_trace([[[0], [0]]], 2, sizes=[100, 300], predictions=predictions)
    predictors = recorded(next={"cost_us": 0.0})
    inputs = system(trace, machine(), capacity=[200, 300], predictors=predictors, static=[0])
    said = read(by, inputs, cost(2, epilogue=7))
    assert of_layers(said) == [(0, 110, 270), (270, 490, 570)]
    assert end(said) == 577


@each
def test_a_prefetch_that_waits_counts(by: str) -> None:
    # Named at 150, it waits while 0 moves until 210, when 0 computes: 160. At 370 it has landed.
    predictions = {"next": saying([[[-1], [0]]], distance=1)}
    trace = make_trace([[[0], [0]]], 2, sizes=[100, 100], predictions=predictions)
    predictors = recorded(next={"cost_us": 0.15})
    inputs = system(trace, machine(), capacity=[100, 100], predictors=predictors)
    said = read(by, inputs, cost(2))
    assert started(said) == {0: [110], 2: [210]}
    assert of_layers(said) == [(0, 110, 370), (370, 480, 560)]


@each
def test_the_head_is_beside_what_is_never_needed(by: str) -> None:
    # 1, of 1000 bytes, is named at 0 and moves all the while, but not yet when the layer starts:
    # routed at 110, 0 until 270, the head 14.
    predictions = {"wrong": saying([[[1]]])}
    trace = make_trace([[[0]]], 2, sizes=[1000], predictions=predictions)
    inputs = system(
        trace,
        machine(),
        capacity=2000,
        predictors=recorded(wrong={"cost_us": 0.0}),
        prefetch={"cancel_stale": False},
        static=[0],
    )
    assert end(read(by, inputs, cost(1, epilogue=7))) == 284


@EXAMPLES
@given(smalls(predictors=0, cpu=False))
def test_what_computes_beside_loads_is_never_faster(small: Small) -> None:
    """Without prefetch, and where what lands does not wait to make a larger group."""
    small = replace(small, config=small.config | {"overlap": "per_expert"})
    alone, beside = (replace(small, cost=small.cost | {"slowed": n}) for n in (1, 2))
    assert total_ns(alone.run()) <= total_ns(beside.run())


def test_engines_agree_on_a_machine_that_says_so() -> None:
    """With the durations of the cost model, and more of them than without."""
    compute = {}
    for left in (None, 0.6):
        for engine in ("simpy", "compiled"):
            hardware = {"name": "rtx-3060-12gb"} | ({"compute.beside_loads": left} if left else {})
            tree = {
                "trace": "mini-gpt-oss",
                "model": "gpt-oss-20b",
                "requests": "0:1",
                "tokens": "0:30",
                "cache": {"capacity": "25%"},
                "predictor": "pre-attention",
                "hardware": hardware,
                "engine": engine,
            }
            found = simulate(load(RunConfig.model_validate(tree)))
            compute[left, engine] = found.steps.column("compute").sum()
    assert compute[None, "simpy"] == compute[None, "compiled"]
    assert compute[None, "simpy"] < compute[0.6, "simpy"] == compute[0.6, "compiled"]
