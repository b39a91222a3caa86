"""The contract of an eviction: scores alone decide, within what memory allows."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import numpy as np

from sim import registry
from sim.eviction import base
from sim.eviction.base import Future
from sim.memory import Tier

LAYERS, WIDTH = 3, 5
TOTAL = LAYERS * WIDTH
OPERATIONS = 600
SEEDS = range(6)


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
    """An eviction that keeps the scores it gave, apart from memory's own."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.scores: dict[int, int] = {}  # of the residents
        self.left: list[int] = []
        self.ascending = getattr(module, "ASCENDING", False)
        self.new_state = getattr(module, "new_state", base.new_state)
        for name in ("passed", "predicted"):
            if hasattr(module, name):
                setattr(self, name, self._rescoring(getattr(module, name)))
        self.used = self._rescoring(module.used)
        for name in ("begin", "victim", "kept"):
            if hasattr(module, name):
                setattr(self, name, getattr(module, name))

    def inserted(self, state: Any, x: int, now: int) -> int:
        assert x not in self.scores
        return self._note(x, self.module.inserted(state, x, now))

    def evicted(self, state: Any, x: int, now: int, score: int) -> None:
        assert score == self.scores.pop(x)
        self.left.append(x)
        if hasattr(self.module, "evicted"):
            assert self.module.evicted(state, x, now, score) is None

    def _rescoring(self, hook: Any) -> Any:
        def called(state: Any, x: int, now: int, score: int) -> int:
            assert score == self.scores[x], "a hook is told the score that the expert holds"
            return self._note(x, hook(state, x, now, score))

        return called

    def _note(self, x: int, score: int) -> int:
        assert type(score) is int
        if self.ascending and score != self.scores.get(x):
            assert score >= max(self.scores.values(), default=score)
        self.scores[x] = score
        return score


def expected_victims(tier: Tier, scores: dict[int, int], x: int) -> list[int] | None:
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


def drive(module: ModuleType, seed: int) -> list[int]:
    """A random life of a tier under ``module``; who left, in order. Every victim is checked."""
    rng = random.Random(seed)
    watched = Watched(module)
    per_layer = rng.random() < 0.5
    sizes = [rng.randint(1, 3) if rng.random() < 0.5 else 2 for _ in range(LAYERS)]
    capacities = [rng.randint(3, 12) for _ in range(LAYERS)] if per_layer else [rng.randint(6, 30)]
    partitions = [x // WIDTH if per_layer else 0 for x in range(TOTAL)]
    tier = Tier(
        [sizes[x // WIDTH] for x in range(TOTAL)],
        capacities,
        partitions,
        LAYERS,
        watched,  # type: ignore[arg-type]
        seed=seed,
        future=cyclic_future(seed=seed),
    )
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
            if granted:
                in_flight.append(x)
        for x in list(in_flight):
            fate = rng.random()
            if fate < 0.6:
                in_flight.remove(x)
                tier.insert(x)
                if fate < 0.4:
                    tier.use((x,))
        assert {x for x in range(TOTAL) if tier.resident[x]} == set(watched.scores)
        free = list(tier.capacities)
        for x in [*watched.scores, *in_flight]:
            free[partitions[x]] -= tier.sizes[x]
        assert tier.free == free
        assert min(free) >= 0
    return watched.left


class EvictionContract:
    """``policy`` is a built-in name or an import path."""

    policy: str

    @property
    def module(self) -> ModuleType:
        return registry.find("eviction", self.policy)

    def test_the_lowest_score_leaves_whatever_the_order_of_events(self) -> None:
        assert sum(len(drive(self.module, seed)) for seed in SEEDS) > 100

    def test_the_same_life_gives_the_same_victims(self) -> None:
        assert drive(self.module, 11) == drive(self.module, 11)

    def test_two_caches_share_nothing(self) -> None:
        module = self.module
        alone = drive(module, 3)
        drive(module, 4)
        assert drive(module, 3) == alone

    def test_says_what_it_does(self) -> None:
        assert registry.summary("eviction", self.policy).endswith((".", ":"))
