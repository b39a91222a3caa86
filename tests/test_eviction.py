"""Evictions: each keeps the contract, and the order in which each lets experts go."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import EvictionContract
from harness import machine, make_trace, replay, system
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from prefetch_sim.experiments.checking.eviction import RULES, lowest_score_leaves
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.foreign import BrokenContractError
from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.eviction.random import lifetime
from prefetch_sim.sim.jit import rng
from prefetch_sim.sim.setup.tiers import make_cache
from prefetch_sim.sim.workload.future import Future


class TestBelady(EvictionContract):
    policy = "belady"


class TestEveryHook(EvictionContract):
    policy = "contracts.every_hook"


class TestSparedInOrder(EvictionContract):
    policy = "contracts.spared_in_order"


class TestFifo(EvictionContract):
    policy = "fifo"


class TestLeastStale(EvictionContract):
    policy = "least-stale"


class TestLfu(EvictionContract):
    policy = "lfu"


class TestLfuPersistent(EvictionContract):
    policy = "lfu-persistent"


class TestLru(EvictionContract):
    policy = "lru"


class TestPredictionAware(EvictionContract):
    policy = "prediction-aware"


class TestRandom(EvictionContract):
    policy = "random"


class TestS3Fifo(EvictionContract):
    policy = "s3-fifo"


def test_every_eviction_has_its_contract_class() -> None:
    covered = {c.policy for c in EvictionContract.__subclasses__()}
    assert covered >= set(registry.names("eviction"))


def future_of(sets: Sequence[Iterable[int]], total: int) -> Future:
    uses = [[at for at, routed in enumerate(sets) if x in routed] for x in range(total)]
    start = np.cumsum([0] + [len(u) for u in uses]).tolist()
    return Future(np.array([at for u in uses for at in u], dtype=np.int32), start, start[:-1])


def cache(
    policy: str,
    places: int,
    total: int,
    layers: int = 1,
    future: Future | None = None,
    seed: int = 0,
) -> Tier:
    module = registry.find("eviction", policy)
    return Tier([1] * total, [places], [0] * total, layers, module, seed=seed, future=future)


def misses(policy: str, places: int, sets: Sequence[Sequence[int]], layers: int = 1) -> list[int]:
    total = max(x for routed in sets for x in routed) + 1
    total += -total % layers
    tier = cache(policy, places, total, layers, future_of(sets, total))
    return list(replay(tier, enumerate(sets)))


def leaving(tier: Tier) -> list[int]:
    """Empty ``tier``, which holds nothing but experts of size 1: who leaves, in order."""
    left: list[int] = []
    tier.on_evict = left.append
    tier.free[0] = 0
    while any(tier.resident):
        someone_else = tier.resident.index(False)
        assert tier.reserve(someone_else)
    return left


def put(tier: Tier, x: int, now: int) -> None:
    tier.now = now
    assert tier.reserve(x)
    tier.insert(x)


def test_lru_keeps_what_was_used_last_and_fifo_does_not() -> None:
    sets = [[0], [1], [0], [2], [0], [1]]
    assert misses("lru", 2, sets) == [1, 1, 0, 1, 0, 1]  # 1 leaves for 2
    assert misses("fifo", 2, sets) == [1, 1, 0, 1, 1, 1]  # 0 leaves for 2


@pytest.mark.parametrize("warm", ["popular", "first"])
def test_what_a_warm_cache_is_to_keep_leaves_last(warm: str) -> None:
    sets = [1, 2], [2, 3], [2, 3], [2, 3]  # expert 2 is used most, then 3, 1 and 0, in both layers
    trace = make_trace([[chosen, chosen] for chosen in sets], 4, sizes=(10, 30))
    # All of layer 0 have room, and two of layer 1.
    inputs = system(trace, machine(), capacity=100, eviction="fifo", cache={"warm": warm})
    tier = make_cache(inputs)
    left: list[int] = []
    tier.on_evict = left.append
    while any(tier.resident):
        tier.free[0] = 0
        assert tier.reserve(tier.resident.index(False))
    best = [2, 3, 1, 0] if warm == "popular" else [0, 1, 2, 3]
    assert left == [best[3], best[2], 4 + best[1], best[1], 4 + best[0], best[0]]


def test_lfu_forgets_with_the_eviction_and_persistent_lfu_does_not() -> None:
    # 0 is used three times, then pushed out by sets that fill the cache, then used once more:
    # in the cache it then counts 1 and goes before 2 (2 uses), over the whole run it counts 4.
    sets = [[0], [0], [0], [1, 2], [1, 2], [0], [3], [0]]
    assert misses("lfu", 2, sets) == [1, 0, 0, 2, 0, 1, 1, 1]
    assert misses("lfu-persistent", 2, sets) == [1, 0, 0, 2, 0, 1, 1, 0]


def test_lfu_ties_leave_in_order_of_last_use() -> None:
    tier = cache("lfu", 4, 5)
    for now, x in enumerate([3, 1, 0, 2]):
        put(tier, x, now)
        tier.use((x,))
    tier.now = 4
    tier.use((1,))
    assert leaving(tier) == [3, 0, 2, 1]


def test_belady_lets_the_furthest_next_use_go() -> None:
    sets = [[0], [1], [2], [0], [1], [3], [2], [0]]
    assert misses("belady", 2, sets) == [1, 1, 1, 0, 1, 1, 0, 1]
    assert sum(misses("belady", 2, sets)) < sum(misses("lru", 2, sets))


def test_belady_never_splits_a_set() -> None:
    # 1 is used later than 0 and 2, but is pinned while its own set is brought in.
    sets = [[0, 1], [1, 2], [0, 2], [1]]
    assert misses("belady", 2, sets) == [2, 1, 1, 1]


def test_least_stale_order() -> None:
    """Two experts a layer, four layers, now in layer 1 of the second pass."""
    tier = cache("least-stale", 8, 9 + 3, layers=4)
    width = 3
    first = [0, 1, 3, 4, 6, 7, 9, 10]
    for layer in range(4):  # first pass: experts 0 and 1 of every layer
        routed = [layer * width, layer * width + 1]
        tier.now = layer
        for x in routed:
            tier.reserve(x)
            tier.insert(x)
            tier.use((x,))
        tier.routed(layer, routed)
    for layer in range(2):  # second pass: expert 0 only, in layers 0 and 1
        tier.now = 4 + layer
        tier.use((layer * width,))
        tier.routed(layer, [layer * width])
    assert sorted(first) == [x for x in range(12) if tier.resident[x]]
    # Stale: 1 (unused since layer 0), 4. Already run in this pass: 0, 3. Still ahead: 6.., 9..
    assert leaving(tier) == [1, 4, 0, 3, 6, 7, 9, 10]


def test_prediction_aware_protects_until_the_layer_has_run() -> None:
    tier = cache("prediction-aware", 4, 10, layers=2)
    for now, x in enumerate([0, 1, 5, 6]):
        put(tier, x, now)
        tier.use((x,))
    tier.predict([0, 5])
    assert expected_order(tier) == [1, 6, 0, 5]
    tier.now = 4
    tier.routed(0, [1])  # 0 was named, and its layer has run without it
    assert expected_order(tier) == [0, 1, 6, 5]
    tier.now = 5
    tier.use((5,))  # 5 was named and used
    assert expected_order(tier) == [0, 1, 6, 5]
    tier.now = 6
    tier.use((0,))
    assert expected_order(tier) == [1, 6, 5, 0]


def test_prediction_aware_protects_what_a_prefetch_brings_in() -> None:
    tier = cache("prediction-aware", 3, 10, layers=2)
    put(tier, 5, 0)  # prefetched for layer 1
    for now, x in enumerate([0, 1], 1):
        put(tier, x, now)
        tier.use((x,))
    assert expected_order(tier) == [0, 1, 5]
    tier.now = 3
    tier.routed(1, [])
    assert expected_order(tier) == [5, 0, 1]


def test_prediction_aware_releases_a_warm_cache() -> None:
    tier = cache("prediction-aware", 2, 4)
    put(tier, 0, -1)
    put(tier, 1, 3)
    tier.use((1,))
    tier.now = 4
    tier.routed(0, [1])
    assert expected_order(tier) == [0, 1]


def test_passing_is_told_once_after_something_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    def not_routed(state: Any, x: int, now: int, score: int) -> int:
        told.append((now, x))
        return score

    monkeypatch.setattr(registry.find("eviction", "prediction-aware"), "not_routed", not_routed)
    tier = cache("prediction-aware", 4, 8)  # one layer
    put(tier, 0, 0)
    put(tier, 1, 0)
    happens: dict[int, Callable[[], None]] = {
        2: lambda: tier.use([0]),
        3: lambda: tier.predict([1]),
    }
    for tier.now in range(1, 6):
        happens.get(tier.now, lambda: None)()
        tier.routed(0, [0] if tier.now == 2 else [])
    assert told == [(1, 0), (1, 1), (3, 0), (3, 1)]


def test_a_pinned_expert_is_spared_once_each_time_that_room_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int]] = []

    def spared(state: Any, x: int, now: int, score: int) -> int:
        told.append((x, score))
        return score

    every_hook = registry.find("eviction", "contracts.every_hook")
    monkeypatch.setattr(every_hook, "spared", spared)
    tier = cache("contracts.every_hook", 2, 4)
    put(tier, 1, 0)  # scores 1, falls to 0 when not routed, is 1 again when named
    put(tier, 3, 0)
    tier.use([3])
    tier.now = 2
    tier.routed(0, [3])
    tier.predict([1])
    tier.pinned = {1}
    for newcomer, seen in ((0, [(1, 1)]), (2, [])):
        told.clear()
        tier.free[0] = 0
        assert tier.reserve(newcomer) == bool(seen)
        assert told == seen


def expected_order(tier: Tier) -> list[int]:
    """Who would leave, in order, leaving the tier as it is."""
    held = [x for x, resident in enumerate(tier.resident) if resident]
    return sorted(held, key=lambda x: (tier.scores[x], x))


draws = st.integers(0, 2**53 - 1) | st.integers(0, 52).map(lambda n: 2**53 - 2**n)


@given(draws)
def test_a_random_lifetime_is_a_logarithm_rounded_down(draw: int) -> None:
    exact = -math.log((2**53 - draw) / 2**53) * 2**20
    assert exact - 1.01 < lifetime(draw) < exact + 0.1


def test_random_lifetimes_are_exponential() -> None:
    lives = [lifetime(rng.bits(seed, 1)) / 2**20 for seed in range(20_000)]
    assert kstest(lives, "expon").pvalue > 0.01


def test_random_is_uniform() -> None:
    """Eight residents of different age and use; who is first to leave, over many seeds."""
    counts = [0] * 8
    for seed in range(2000):
        tier = cache("random", 8, 9, seed=seed)
        for now in range(8):
            put(tier, now, now)
        tier.use([0, 0, 3])
        counts[first_out(tier, 8)] += 1
    assert chisquare(counts).pvalue > 0.01


def test_random_is_uniform_among_those_that_arrived_at_different_victims() -> None:
    counts = [0] * 4
    for seed in range(2000):
        tier = cache("random", 4, 12, seed=seed)
        for x in range(10):  # six victims on the way
            put(tier, x, x)
        held = [x for x in range(10) if tier.resident[x]]
        counts[held.index(first_out(tier, 11))] += 1
    assert chisquare(counts).pvalue > 0.01


def test_random_is_uniform_again_once_a_pin_is_gone() -> None:
    """A pinned expert that was passed over is no likelier to go next."""
    counts = [0] * 4
    for seed in range(2000):
        tier = cache("random", 4, 12, seed=seed)
        for x in range(4):
            put(tier, x, x)
        tier.pinned = {0, 1}
        put(tier, 4, 4)
        put(tier, 5, 5)
        tier.pinned = ()
        held = [x for x in range(6) if tier.resident[x]]
        counts[held.index(first_out(tier, 11))] += 1
    assert chisquare(counts).pvalue > 0.01


def first_out(tier: Tier, newcomer: int) -> int:
    before = list(tier.resident)
    assert tier.reserve(newcomer)
    (left,) = [x for x, was in enumerate(before) if was and not tier.resident[x]]
    return left


def test_a_policy_of_ones_own_by_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file, a name in the config, and a class of three lines that runs the contract."""
    folder = tmp_path / "own_policies"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "most_recent.py").write_text(
        '"""Most recently used leaves first."""\n'
        "def new_state(experts, layers, seed, future):\n    return ()\n"
        "def inserted(state, x, now):\n    return -now\n"
        "def used(state, x, now, score):\n    return -now\n"
    )
    (folder / "wrong.py").write_text(
        (folder / "most_recent.py").read_text().replace("return -now", "return -now / 2")
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    class Own(EvictionContract):
        policy = "own_policies.most_recent"

    class Wrong(EvictionContract):
        policy = "own_policies.wrong"

    try:
        for rule in RULES:
            Own().test_keeps(rule)
        with pytest.raises(BrokenContractError, match="where a score, a whole number"):
            Wrong().test_keeps(lowest_score_leaves)
        assert misses("own_policies.most_recent", 2, [[0], [1], [2], [0]]) == [1, 1, 1, 0]
    finally:
        for name in [n for n in sys.modules if n.startswith("own_policies")]:
            del sys.modules[name]
        for contract in (Own, Wrong):
            contract.policy = "lru"  # __subclasses__ may still hold them


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown eviction 'lruu'; did you mean 'lru'"):
        registry.find("eviction", "lruu")
    with pytest.raises(ConfigError, match="unknown predictor 'orakle'; did you mean 'oracle'"):
        registry.find("predictors", "orakle")
    with pytest.raises(ConfigError, match="unknown prefetch 'topk'; did you mean 'top-k'"):
        registry.find("prefetch", "topk")
    with pytest.raises(ConfigError, match=r"cannot import eviction policy 'no\.such'"):
        registry.find("eviction", "no.such")
    with pytest.raises(ConfigError, match="unknown eviction 'base'"):
        registry.find("eviction", "base")


def test_a_function_by_its_old_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    lru = "from prefetch_sim.sim.eviction.lru import inserted, used\n"
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "name.py").write_text(f"{lru}passed = used\n")
    with pytest.raises(ConfigError, match=r"'passed' of an eviction policy is called 'not_routed'"):
        registry.find("eviction", "old.name")
