"""Two runs of the same inputs: what was resident when, and why it was not the same."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from jittered import jittered

from prefetch_sim.sim.config.files import parse, set_path
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.records import LoadRecords
from prefetch_sim.sim.results.agreement import (
    CAUSES,
    EARLIER,
    EVICTED,
    FOLLOWS,
    LATER,
    NEVER,
    UNEXPLAINED,
    Watched,
    agreement,
)
from prefetch_sim.sim.results.residency import (
    BEGAN,
    LANDED,
    LEFT,
    PREDICTED,
    ROUTED,
    Residency,
    ResidencyLog,
)
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup import inputs as setup
from prefetch_sim.sim.setup.inputs import Inputs

# Experts come so slowly that what is prefetched for a layer may just be there in time, or not.
SLOW = {"jetson-orin-nx": ("storage.gb_s", 0.03), "rtx-4090": ("host_link.gb_s", 0.15)}
HYBRID = ["pre-attention", "cross-layer"]


@cache
def make(hardware: str, eviction: str, predictor: str) -> Inputs:
    path, rate = SLOW[hardware]
    tree: dict[str, Any] = {
        "trace": "mini-qwen3-30b-a3b",
        "requests": "1:2",
        "tokens": "32:96",
        "layers": "0:12",
        "hardware": hardware,
        "cache": {"capacity": "25%", "eviction": eviction},
        "predictor": HYBRID if predictor == "hybrid" else predictor,
    }
    return setup.load(parse(set_path(tree, f"hardware.{path}", rate), "test"))


def watched(inputs: Inputs, share: float = 0.0, seed: int = 0) -> Watched:
    log = ResidencyLog()
    done = jittered(inputs, share, seed, lambda _, loader: log.watch(loader))
    return Watched(log, done.loads)


@pytest.mark.parametrize("eviction", ["lru", "lfu", "least-stale"])
@pytest.mark.parametrize("hardware", SLOW)
def test_without_prefetch_time_changes_no_decision(hardware: str, eviction: str) -> None:
    inputs = make(hardware, eviction, "none")
    found = agreement(watched(inputs), watched(inputs, 0.9, seed=1))
    assert (found.equal_sets, found.equal_hits, found.jaccard, found.differences) == (1, 1, 1, 0)


@pytest.mark.parametrize("predictor", ["previous-token", "hybrid"])
@pytest.mark.parametrize("eviction", ["lru", "lfu", "least-stale", "fifo"])
@pytest.mark.parametrize("hardware", SLOW)
def test_every_difference_is_traced(hardware: str, eviction: str, predictor: str) -> None:
    inputs = make(hardware, eviction, predictor)
    found = agreement(watched(inputs), watched(inputs, 0.6, seed=2))
    assert found.causes[UNEXPLAINED] == 0, found
    if predictor == "hybrid":
        assert found.differences > 0
        assert found.causes[LATER] + found.causes[EARLIER] > 0
        assert found.equal_sets < 1


def test_what_is_logged_is_what_is_recorded() -> None:
    inputs = make("jetson-orin-nx", "lru", "hybrid")
    log = ResidencyLog()
    done = simulate(inputs, lambda _, loader: log.watch(loader))
    read = Residency(log)
    assert (read.hits == done.layers.column("hits")).all()
    experts = inputs.workload.table.routed
    first = inputs.workload.table.first_routed
    resident = [
        int(read.sets[i, experts[first[i] : first[i + 1]]].sum()) for i in range(len(read.sets))
    ]
    assert resident == read.hits.tolist()
    assert sum(len(loads) for loads in read.loads.values()) == int(
        (done.loads.column("started") >= 0).sum()
    )


@pytest.mark.parametrize("predictor", ["none", "hybrid"])
def test_a_slot_that_is_lost_is_no_ones_doing(predictor: str) -> None:
    inputs = make("rtx-4090", "lru", predictor)
    log, lost = ResidencyLog(), 0

    def watch(_: Any, loader: Loader) -> None:
        log.watch(loader)
        tier, demand = loader.cache, loader.demand

        def losing(routed: Any, now: int) -> tuple[int, int]:
            nonlocal lost
            if tier.now % 100 == 99:
                x = next(x for x in range(len(tier.sizes)) if tier.resident[x])
                tier._left(0, [x])
                tier.free[0] += tier.sizes[x]
                lost += 1
            return demand(routed, now)

        loader.demand = losing  # type: ignore[method-assign]

    done = simulate(inputs, watch)
    found = agreement(watched(inputs), Watched(log, done.loads))
    assert lost
    assert found.causes[UNEXPLAINED] > 0


def test_another_eviction_is_no_ones_doing() -> None:
    one = watched(make("rtx-4090", "lru", "none"))
    found = agreement(one, watched(make("rtx-4090", "lfu", "none")))
    assert found.causes[UNEXPLAINED] > 0


def test_runs_of_different_inputs_are_not_compared() -> None:
    one, other = LoadRecords(), LoadRecords()
    with pytest.raises(ValueError, match="different inputs: 0 and 1 layer-steps"):
        agreement(Watched(_log([]), one), Watched(_log([(ROUTED, -1, 0, 0)]), other))


# By hand: four experts, of which 0 is there at first.

SAY, ASK = (PREDICTED, -1, 9, 0), (ROUTED, -1, 0, 0)
COMES, IS_THERE, LEAVES = (BEGAN, 1, 1, 0), (LANDED, 1, 1, 0), (LEFT, 0, -1, 0)


def _log(events: list[tuple[int, ...]]) -> ResidencyLog:
    log = ResidencyLog()
    log.at_first = [True, False, False, False]
    log.events = [number for event in events for number in event]
    return log


def _loads(*withdrawn: tuple[int, int]) -> LoadRecords:
    records = LoadRecords()
    for expert, target in withdrawn:
        records.add_numbers((expert, 1, 0, target, 4))
        records.add_times((0, -1, -1, -1, 5))
    return records


def _causes(one: list[Any], other: list[Any], *withdrawn: tuple[int, int]) -> dict[str, int]:
    found = agreement(Watched(_log(one), _loads()), Watched(_log(other), _loads(*withdrawn)))
    return {cause: n for cause, n in found.causes.items() if n}


def test_causes_by_hand() -> None:
    early = [SAY, COMES, IS_THERE, ASK, ASK]
    late = [SAY, COMES, ASK, IS_THERE, ASK]
    later_still = [SAY, COMES, ASK, ASK, IS_THERE]
    assert _causes(early, late) == {LATER: 1}
    assert _causes(late, early) == {EARLIER: 1}
    assert _causes(early, later_still) == {LATER: 2}  # the same difference, at two layers
    assert _causes(early, [SAY, ASK, ASK], (1, 1)) == {NEVER: 2}
    assert _causes(early, [SAY, ASK, ASK]) == {UNEXPLAINED: 2}
    # It took the room of 0, before the first routing and after it.
    assert _causes([SAY, LEAVES, COMES, ASK, IS_THERE, ASK], [SAY, ASK, LEAVES, COMES, ASK]) == {
        EVICTED: 1,
        LATER: 1,
    }
    # Gone, though nothing began or landed otherwise.
    assert _causes([SAY, COMES, ASK, ASK], [SAY, LEAVES, COMES, ASK, ASK]) == {UNEXPLAINED: 2}


def test_what_came_a_second_time_by_hand() -> None:
    """1 comes before the second prediction, leaves for 3, and comes again; or comes once, late."""
    third = [(BEGAN, 3, 1, 0), (LANDED, 3, 1, 0)]
    twice = [SAY, COMES, IS_THERE, (LEFT, 1, -1, 0), *third, SAY, COMES, IS_THERE, ASK]
    once = [SAY, SAY, *third, COMES, ASK, IS_THERE]
    after = [SAY, SAY, *third, ASK, COMES, IS_THERE]
    assert _causes(twice, once) == _causes(twice, after) == {LATER: 1}
    assert _causes(once, twice) == {EARLIER: 1}


def test_a_follow_on_by_hand() -> None:
    """1 lands on the other side; later 2 takes its room in one run, and that of 0 in the other."""
    takes = (BEGAN, 2, 2, 0)
    one = [SAY, COMES, IS_THERE, ASK, (LEFT, 0, -1, 0), takes, ASK]
    other = [SAY, COMES, ASK, IS_THERE, (LEFT, 1, -1, 0), takes, ASK]
    assert _causes(one, other) == {LATER: 1, FOLLOWS: 2}


def test_shares_by_hand() -> None:
    found = agreement(
        Watched(_log([SAY, COMES, IS_THERE, ASK, ASK]), _loads()),
        Watched(_log([SAY, COMES, ASK, IS_THERE, ASK]), _loads()),
    )
    assert (found.layer_steps, found.equal_sets, found.equal_hits) == (2, 0.5, 1.0)
    assert (found.jaccard, found.least_jaccard) == (0.75, 0.5)
    assert set(found.causes) == set(CAUSES)
    assert np.array_equal(Residency(_log([ASK])).sets, [[True, False, False, False]])
