"""What docs/timing.md says of experts on the CPU: exact times, worked out by hand.

In all three readings. Unless a test says otherwise an expert is 100 bytes, the link moves 1 byte a
ns, attention takes 100, the gate 10, one expert 50 on the GPU and 80 on the CPU.
"""

from __future__ import annotations

from typing import Any

import pytest
from by_hand import end, ends, recorded, saying, started
from harness import FixedCost, FixedCpu, machine, make_trace, run_system, system
from readings import READINGS, read

MIB = 2**20
each = pytest.mark.parametrize("by", READINGS)
CPU = {"policy": "cpu"}


def cost(layers: int, cpu: FixedCpu | None = None, **durations: int) -> FixedCost:
    return FixedCost(layers, cpu=cpu or FixedCpu(), **durations)


def stalls(said: dict[str, Any]) -> list[list[int]]:
    """[layer-step]: demand, late, queue, storage, CPU."""
    return [row[-5:] for row in said["layers"]]


@each
def test_cpu_and_gpu_compute_one_layer(by: str) -> None:
    # 0 is there, 1 and 2 are not. Routed at 110: the GPU computes 0 until 160, the CPU its two, 30
    # beside them, until 110 + 30 + 160 = 300. The GPU waits for 140 ns; nothing has moved.
    trace = make_trace([[[0, 1, 2]]], 4, sizes=[100])
    inputs = system(trace, machine(), capacity=100, misses=CPU, cache={"warm": "first"})
    said = read(by, inputs, cost(1, FixedCpu(fixed=30)))
    assert (started(said), end(said)) == ({}, 300)
    assert stalls(said) == [[0, 0, 0, 0, 140]]
    assert said["layers"][0][2:6] == [3, 1, 0, 2]  # experts, hits, late, on the CPU


@each
def test_what_the_cpu_hands_over_in_time_is_no_stall(by: str) -> None:
    trace = make_trace([[[0, 1]]], 4, sizes=[100])
    inputs = system(trace, machine(), capacity=100, misses=CPU, cache={"warm": "first"})
    said = read(by, inputs, cost(1, expert=200))
    assert (end(said), stalls(said)) == (310, [[0, 0, 0, 0, 0]])


@each
def test_nothing_on_the_cpu_is_booked(by: str) -> None:
    # No slot is looked for where nothing is loaded.
    trace = make_trace([[[0, 1]]], 4, sizes=[100])
    said = read(by, system(trace, machine(), capacity=100, misses=CPU), cost(1, miss=7))
    assert end(said) == 110 + 160


@each
def test_cheapest_on_both_sides_of_the_turn(by: str) -> None:
    # A load takes 100, the CPU 30 and 80 for each. The first would be through at 100 by the link,
    # at 110 on the CPU: loaded. The second at 200 or 110: the CPU. The third at 200 or 190: the
    # CPU. So 210: 0 is there, 260 computed; the CPU is through at 110 + 30 + 160 = 300.
    trace = make_trace([[[0, 1, 2]]], 4, sizes=[100])
    inputs = system(trace, machine(), capacity=300, misses={"policy": "cheapest"})
    said = read(by, inputs, cost(1, FixedCpu(fixed=30)))
    assert (started(said), end(said)) == ({0: [110]}, 300)
    assert stalls(said) == [[100, 0, 0, 0, 40]]
    # Three ns less for the link, and the third is loaded as well: 97 and 194 against 190 and 270.
    said = read(
        by, system(trace, machine(gb_s=100 / 94), capacity=300, misses={"policy": "cheapest"}),
        cost(1, FixedCpu(fixed=30)),
    )  # fmt: skip
    assert started(said) == {0: [110], 2: [204]}


@each
def test_what_moves_costs_cheapest_no_load(by: str) -> None:
    # 0 is named at 0 and moves until 300; routed at 110, with 1. The link will be through with what
    # moves, 300 bytes at full rate, at 410, and with 1 at 710; the CPU with 0 at 420, or with 1.
    predictions = {"early": saying([[[0]]])}
    trace = make_trace([[[0, 1]]], 4, sizes=[300], predictions=predictions)
    inputs = system(
        trace, machine(), capacity=600, misses={"policy": "cheapest"}, predictors=recorded(early={})
    )
    said = read(by, inputs, cost(1, FixedCpu(expert=310)))
    assert (started(said), end(said)) == ({0: [0]}, 420)
    assert said["layers"][0][2:6] == [2, 0, 1, 1]
    assert said["dispositions"][0][1] == 1  # late


@each
def test_a_prefetch_of_what_the_cpu_computes_goes_on(by: str) -> None:
    # 0 moves from 0 to 300, and is computed on the CPU at 110 to 190. In the second step, from 190,
    # it is routed at 300, when it has landed: a hit, and the prefetch was timely.
    predictions = {"early": saying([[[0]], [[-1]]])}
    trace = make_trace([[[0]], [[0]]], 4, sizes=[300], predictions=predictions)
    inputs = system(trace, machine(), capacity=600, misses=CPU, predictors=recorded(early={}))
    said = read(by, inputs, cost(1))
    assert (started(said), ends(said)) == ({0: [0]}, [190, 350])
    assert said["dispositions"][0][0] == 1  # timely


@each
def test_then_load_comes_behind(by: str) -> None:
    # Routed at 110: the CPU computes 0 until 190, and 0 is loaded from 110 to 210. The second step
    # is routed at 300: a hit, computed at 350.
    trace = make_trace([[[0]], [[0]]], 4, sizes=[100])
    inputs = system(trace, machine(), capacity=200, misses={"policy": "cpu", "then": "load"})
    said = read(by, inputs, cost(1))
    assert (started(said), ends(said)) == ({0: [110]}, [190, 350])
    assert (sum(map(sum, said["dispositions"])), said["moved_bytes"]) == (0, [[0, 0, 100]])
    assert [row[1:5] for row in said["loads"]] == [[2, -1, 0, 7]]  # behind, for step 0, landed


@each
def test_prompts_are_loaded_and_single_tokens_left_to_the_cpu(by: str) -> None:
    # `up_to: 1`: the prompt of two tokens is loaded, a step of one is left to the CPU.
    trace = make_trace([[[0]], [[1]], [[2]], [[3]]], 4, prompt=2, sizes=[100])
    misses = {"policy": "cpu", "then": "load", "up_to": 1}
    said = read(by, system(trace, machine(), capacity=400, misses=misses), cost(1))
    # 0 and 1 land at 210 and 310: 360. Routed at 470: 2 on the CPU until 550; at 660: 3, until 740.
    assert ends(said) == [360, 550, 740]
    assert started(said) == {0: [110], 1: [210], 2: [470], 3: [660]}
    assert said["moved_bytes"] == [[200, 0, 100]]  # 3 is on its way when the run ends


@each
def test_what_comes_behind_waits_for_demands_and_is_promoted(by: str) -> None:
    # 150 bytes. `cheapest`: 0 by the link (150 against 230), 1 on the CPU (230 against 300), and
    # behind: 0 from 110 to 260, then 1 until 410. GPU 310, CPU 340. The second step is routed at
    # 450: 1 is a hit, 2 is loaded: 600, 650.
    trace = make_trace([[[0, 1]], [[1, 2]]], 4, sizes=[150])
    misses = {"policy": "cheapest", "then": "load"}
    inputs = system(trace, machine(), capacity=450, misses=misses)
    said = read(by, inputs, cost(1, FixedCpu(fixed=30, expert=200)))
    assert started(said) == {0: [110], 1: [260], 2: [450]}
    assert ends(said) == [340, 650]
    # 400 bytes: 1 comes from 510 to 910. Routed again at 650, it moves and is waited for.
    trace = make_trace([[[0, 1]], [[1, 0]]], 4, sizes=[400])
    inputs = system(trace, machine(), capacity=1200, misses=misses)
    said = read(by, inputs, cost(1, FixedCpu(fixed=30, expert=400)))
    assert started(said) == {0: [110], 1: [510]}
    assert ends(said)[1] == 960
    assert said["layers"][1][2:6] == [2, 1, 0, 0]  # no prefetch had begun it
    assert [row[1:5] for row in said["loads"]] == [[0, -1, 0, 6], [2, -1, 0, 6]]


@each
def test_a_copy_beside_the_cpu(by: str) -> None:
    # 200 bytes in chunks of 100, at half the rate while the CPU computes. `cheapest`: 0 by the link
    # (200 against 210), 1 on the CPU: contended, 240 and not 180, from 110 to 380. The first chunk
    # starts at 110 and takes 200, the second at 310, too: 510. Computed at 560.
    trace = make_trace([[[0, 1]]], 4, sizes=[200])
    inputs = system(
        trace, machine(chunk_mib=100 / MIB, contended=0.5), capacity=400,
        misses={"policy": "cheapest"},
    )  # fmt: skip
    cpu = FixedCpu(fixed=30, expert=180, contended=240)
    said = read(by, inputs, cost(1, cpu))
    assert end(said) == 560
    # With a quicker CPU the second chunk starts when that is through, and takes 100: 410, 460.
    cpu = FixedCpu(fixed=30, expert=170)
    assert end(read(by, inputs, cost(1, cpu))) == 460


@each
def test_a_copy_by_itself_has_the_whole_rate(by: str) -> None:
    trace = make_trace([[[0]]], 4, sizes=[200])
    inputs = system(trace, machine(contended=0.5), capacity=400, misses={"policy": "cheapest"})
    assert end(read(by, inputs, cost(1, FixedCpu(fixed=300)))) == 110 + 200 + 50


@each
def test_the_cpu_shares_memory_with_whatever_moves(by: str) -> None:
    # 3 is prefetched from 0 to 400 for nobody of this layer: the CPU's 0 is contended, 110 + 90.
    predictions = {"early": saying([[[3], [3]]])}
    trace = make_trace([[[0], [1]]], 4, sizes=[400, 400], predictions=predictions)
    inputs = system(
        trace, machine(contended=0.5), capacity=1200, misses=CPU,
        predictors=recorded(early={}), prefetch={"cancel_stale": False},
    )  # fmt: skip
    said = read(by, inputs, cost(2, FixedCpu(expert=80, contended=90)))
    assert ends(said)[0] == 200


@each
def test_a_prompt_is_charged_by_its_tokens(by: str) -> None:
    # Two tokens of one expert: 2 x 80, and 5 for each token's way; the GPU has nothing to do.
    trace = make_trace([[[0]], [[0]]], 4, prompt=2, sizes=[100])
    said = read(by, system(trace, machine(), capacity=400, misses=CPU), cost(1, FixedCpu(token=5)))
    assert end(said) == 110 + 10 + 160


@each
def test_only_what_host_memory_holds_is_computed_there(by: str) -> None:
    # Host memory holds 0 alone; 1 is read off storage, at 2 ns a byte, and over the link.
    trace = make_trace([[[0, 1]]], 2, sizes=[100])
    inputs = system(
        trace, machine(storage={"stream_gb_s": 0.5}), capacity=200, host=100, misses=CPU
    )
    said = read(by, inputs, cost(1))
    assert said["layers"][0][2:6] == [2, 0, 0, 1]
    assert end(said) == 110 + 200 + 100 + 50


@each
@pytest.mark.parametrize("overlap", ["per_expert", "grouped", "none"])
def test_a_set_that_streams_is_of_what_is_loaded(by: str, overlap: str) -> None:
    # Room for two: of three experts one is left to the CPU, so the set fits.
    trace = make_trace([[[0, 1, 2]]], 4, sizes=[100])
    inputs = system(trace, machine(), capacity=200, overlap=overlap, misses={"policy": "cheapest"})
    said = read(by, inputs, cost(1, FixedCpu(expert=150)))
    assert started(said) == {0: [110], 2: [210]}
    assert end(said) == {"per_expert": 360, "grouped": 410, "none": 410}[overlap]


def test_results_say_what_the_cpu_did() -> None:
    trace = make_trace([[[0, 1]]], 4, sizes=[100])
    inputs = system(trace, machine(), capacity=100, misses=CPU, cache={"warm": "first"})
    _, found = run_system(inputs, cost(1))
    assert found["cpu_rate"] == 0.5
    assert found["stall_ms"]["cpu"] == pytest.approx(30e-6)
    spans = sum(found["stall_ms"].values()) + found["compute_ms"] + found["runtime_ms"]
    assert spans == pytest.approx(found["total_ms"])


@each
def test_where_no_expert_fits_the_cpu_computes_all_that_is_missing(by: str) -> None:
    # `cheapest` would load both, 100 and 200 against 1,030; there is room for half of one.
    trace = make_trace([[[0, 1]]], 4, sizes=[100])
    inputs = system(trace, machine(), capacity=50, misses={"policy": "cheapest"})
    said = read(by, inputs, cost(1, FixedCpu(expert=1000)))
    assert (started(said), end(said)) == ({}, 110 + 2000)


@each
def test_a_set_of_one_token_streams_where_there_is_room_for_less(by: str) -> None:
    # Both are loaded, and there is room for one: there at 210, computed at 260, the other at 360.
    trace = make_trace([[[0, 1]]], 4, sizes=[100])
    inputs = system(trace, machine(), capacity=100, misses={"policy": "cheapest"})
    said = read(by, inputs, cost(1, FixedCpu(expert=1000)))
    assert (started(said), end(said)) == ({0: [110], 1: [260]}, 410)
