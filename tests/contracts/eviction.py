"""The contract of an eviction: scores alone decide, within what memory allows.

It is held to in both engines' memory, and both call an eviction alike: ``sim.eviction.base``.
"""

from __future__ import annotations

import random
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import numpy as np

from contracts.compiled_tier import CompiledTier, known_to_the_kernel
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.eviction import base
from prefetch_sim.sim.workload.future import Future

LAYERS, WIDTH = 3, 5
TOTAL = LAYERS * WIDTH
OPERATIONS = 600
SEEDS = range(12)
RESCORING = ("inserted", "used", "not_routed", "predicted", "spared")


def cyclic_future(steps: int = OPERATIONS, seed: int = 0) -> Future:
    """Two experts of the layer in turn at every layer-step, chosen at random."""
    rng = np.random.default_rng(seed)
    uses: list[list[int]] = [[] for _ in range(TOTAL)]
    for at in range(steps):
        for e in rng.choice(WIDTH, 2, replace=False):
            uses[at % LAYERS * WIDTH + int(e)].append(at)
    start = np.cumsum([0] + [len(u) for u in uses]).tolist()
    return Future(np.array([at for u in uses for at in u]), start, start[:-1])


class Watched:
    """An eviction that keeps what it was told and the scores it gave, apart from memory's own."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.scores: dict[int, int] = {}  # of the residents
        self.left: list[int] = []
        self.spared_now: list[tuple[int, int]] = []  # (score, expert), in the present search
        self.calls: list[tuple[Any, ...]] = []
        self.ASCENDING = getattr(module, "ASCENDING", False)
        self.new_state = getattr(module, "new_state", base.new_state)
        for name in ("not_routed", "predicted"):
            if hasattr(module, name):
                setattr(self, name, self._rescoring(name))
        self.used = self._rescoring("used")
        if hasattr(module, "spared"):
            self.spared = self._sparing
        self.asked: list[int] = []  # whom its queues gave, or got back
        if hasattr(module, "begin"):
            self.begin = module.begin
        if hasattr(module, "victim"):
            self.victim, self.kept = self._victim, self._kept

    def inserted(self, state: Any, x: int, now: int) -> int:
        assert x not in self.scores
        return self._note("inserted", x, now, self.module.inserted(state, x, now))

    def evicted(self, state: Any, x: int, now: int, score: int) -> None:
        assert score == self.scores.pop(x)
        self.left.append(x)
        self.calls.append(("evicted", x, now, score))
        if hasattr(self.module, "evicted"):
            assert self.module.evicted(state, x, now, score) is None

    def _rescoring(self, name: str) -> Any:
        hook = getattr(self.module, name)

        def called(state: Any, x: int, now: int, score: int) -> int:
            assert score == self.scores[x], "a hook is told the score that the expert holds"
            return self._note(name, x, now, hook(state, x, now, score))

        return called

    def _sparing(self, state: Any, x: int, now: int, score: int) -> int:
        self.spared_now.append((score, x))
        return int(self._rescoring("spared")(state, x, now, score))

    def _victim(self, state: Any, p: int, now: int) -> int:
        self.asked.append(self.module.victim(state, p, now))
        return self.asked[-1]

    def _kept(self, state: Any, x: int, now: int) -> None:
        self.asked.append(x)
        self.module.kept(state, x, now)

    def _note(self, name: str, x: int, now: int, score: int) -> int:
        assert isinstance(score, int | np.integer)
        self.calls.append((name, x, now, score))
        if self.ASCENDING and score != self.scores.get(x):
            assert score >= max(self.scores.values(), default=score)
        self.scores[x] = score
        return score


def expected_victims(tier: Tier | CompiledTier, scores: dict[int, int], x: int) -> list[int] | None:
    """By looking at everything: who must leave to make room for ``x``; None where nobody may."""
    partition = tier.partition_of[x]
    candidates = sorted(
        (score, y)
        for y, score in scores.items()
        if tier.partition_of[y] == partition and y not in tier.pinned
    )
    missing = tier.sizes[x] - tier.free[partition]
    victims = []
    while missing > 0:
        if not candidates:
            return None
        _, y = candidates.pop(0)
        victims.append(y)
        missing -= tier.sizes[y]
    return victims


def expected_spared(
    tier: Tier | CompiledTier, scores: dict[int, int], victims: list[int] | None
) -> list[tuple[int, int]]:
    """(score, expert) of the pinned whom a victim left in the stead of, in order."""
    if not victims:
        return []
    last = scores[victims[-1]], victims[-1]
    pinned = [(scores[y], y) for y in tier.pinned if y in scores]
    partition = tier.partition_of[victims[-1]]
    return sorted(p for p in pinned if p < last and tier.partition_of[p[1]] == partition)


def drive(module: ModuleType, seed: int, compiled: bool = False) -> Watched:
    """A random life of a tier under ``module``: every victim, and who is spared, is checked.

    ``compiled``: of the compiled engine's tier.
    """
    watched = Watched(module)
    with known_to_the_kernel(watched) if compiled else nullcontext():
        _drive(watched, seed, compiled)
    return watched


def _drive(watched: Watched, seed: int, compiled: bool) -> None:
    rng, module = random.Random(seed), watched.module
    per_layer = rng.random() < 0.5
    sizes = [rng.randint(1, 3) if rng.random() < 0.5 else 2 for _ in range(LAYERS)]
    capacities = [rng.randint(3, 12) for _ in range(LAYERS)] if per_layer else [rng.randint(6, 30)]
    partitions = [x // WIDTH if per_layer else 0 for x in range(TOTAL)]
    static = set(random.Random(seed).sample(range(TOTAL), seed % 3 * 3))
    for x in static:
        capacities[partitions[x]] += sizes[x // WIDTH]
    empty = Tier(
        [sizes[x // WIDTH] for x in range(TOTAL)],
        capacities,
        partitions,
        LAYERS,
        watched,  # type: ignore[arg-type]
        seed=seed,
        future=cyclic_future(seed=seed),
        static=static,
    )
    tier = CompiledTier(empty, watched) if compiled else empty
    in_flight: list[int] = []
    for step in range(OPERATIONS):
        tier.now = step
        layer = step % LAYERS
        of_layer = range(layer * WIDTH, (layer + 1) * WIDTH)
        routed = rng.sample(of_layer, 2)
        tier.pinned = set(routed) if rng.random() < 0.8 else ()
        tier.predict(rng.sample(range(TOTAL), 3))
        tier.use([x for x in routed if tier.resident[x]])
        tier.routed(layer, routed)
        for x in rng.sample(range(TOTAL), 3):
            if tier.resident[x] or x in in_flight:
                continue
            victims = expected_victims(tier, watched.scores, x)
            spared = expected_spared(tier, watched.scores, victims)
            watched.spared_now = []
            before, present = len(watched.left), set(watched.scores)
            missing = tier.sizes[x] - tier.free[partitions[x]]
            granted = tier.reserve(x)
            left = watched.left[before:]
            assert granted == (victims is not None)
            if hasattr(module, "victim"):  # its queues decide, but memory says who may leave
                assert set(left) <= present - set(tier.pinned)
                assert {partitions[y] for y in left} <= {partitions[x]}
                enough = missing - sum(tier.sizes[y] for y in left)
                assert not left or enough <= 0 < enough + tier.sizes[left[-1]]
            else:
                assert left == (victims or [])
                if hasattr(module, "spared"):
                    assert watched.spared_now == spared
            if granted:
                in_flight.append(x)
        for x in list(in_flight):
            fate = rng.random()
            if fate < 0.6:
                in_flight.remove(x)
                tier.insert(x)
                if fate < 0.4:
                    tier.use((x,))
        assert {x for x in range(TOTAL) if tier.resident[x]} == set(watched.scores) | static
        free = list(tier.capacities)
        for x in [*watched.scores, *in_flight, *static]:
            free[partitions[x]] -= tier.sizes[x]
        assert tier.free == free
        assert min(free) >= 0
    assert static.isdisjoint(x for _, x, *_ in watched.calls), "it hears of what never leaves"
    assert static.isdisjoint(watched.asked)


class EvictionContract:
    """``policy`` is a built-in name or an import path."""

    policy: str

    @property
    def module(self) -> ModuleType:
        return registry.find("eviction", self.policy)

    def test_the_lowest_score_leaves_whatever_the_order_of_events(self) -> None:
        lives = [drive(self.module, seed) for seed in SEEDS]
        assert sum(len(life.left) for life in lives) > 100
        told = {name for life in lives for name, *_ in life.calls}
        assert told >= {name for name in RESCORING if hasattr(self.module, name)}

    def test_both_engines_call_it_alike(self) -> None:
        if getattr(self.module, "new_state", base.new_state) is not base.new_state:
            return  # it remembers what it likes, and is never compiled
        for seed in SEEDS[:6]:
            assert drive(self.module, seed, compiled=True).calls == drive(self.module, seed).calls

    def test_the_same_life_gives_the_same_victims(self) -> None:
        assert drive(self.module, 11).calls == drive(self.module, 11).calls

    def test_two_caches_share_nothing(self) -> None:
        module = self.module
        alone = drive(module, 3).calls
        drive(module, 4)
        assert drive(module, 3).calls == alone

    def test_says_what_it_does(self) -> None:
        assert registry.summary("eviction", self.policy).endswith((".", ":"))
