"""The contract of an eviction: scores alone decide, within what memory allows.

It is held to in both engines' memory, and both call an eviction alike: ``sim.eviction.base``.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import numpy as np

from prefetch_sim.experiments.checking.compiled_tier import CompiledTier, known_to_the_kernel
from prefetch_sim.experiments.checking.hooks import rule_of_arguments
from prefetch_sim.experiments.checking.rules import Rule, need, says_what_it_does
from prefetch_sim.experiments.checking.watched import Watched
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
        future=cyclic_future(seed=seed) if getattr(module, "LOOKS_AHEAD", False) else None,
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
            before, present = len(watched.left), dict(watched.scores)
            missing = tier.sizes[x] - tier.free[partitions[x]]
            granted = tier.reserve(x)
            left = watched.left[before:]
            at = f"at layer-step {step}, room for expert {x}, scores {present}"
            need(granted == (victims is not None), f"{at}: {'made' if granted else 'none made'}")
            if hasattr(module, "victim"):  # its queues decide, but memory says who may leave
                free_to_go = present.keys() - set(tier.pinned)
                could = {y for y in free_to_go if partitions[y] == partitions[x]}
                need(set(left) <= could, f"{at}: {left} left, and only {sorted(could)} could")
                enough = missing - sum(tier.sizes[y] for y in left)
                need(
                    not left or enough <= 0 < enough + tier.sizes[left[-1]],
                    f"{at}: {left} left, {-enough} bytes more than were missing",
                )
            else:
                need(left == (victims or []), f"{at}: {left} left, and not {victims}")
                if hasattr(module, "spared"):
                    found = watched.spared_now
                    need(found == spared, f"{at}: spared were {found}, and not {spared}")
            if granted:
                in_flight.append(x)
        for x in list(in_flight):
            fate = rng.random()
            if fate < 0.6:
                in_flight.remove(x)
                tier.insert(x)
                if fate < 0.4:
                    tier.use((x,))
        resident = {x for x in range(TOTAL) if tier.resident[x]}
        known = set(watched.scores) | static
        need(resident == known, f"at layer-step {step}: {resident} are there, {known} should be")
        free = list(tier.capacities)
        for x in [*watched.scores, *in_flight, *static]:
            free[partitions[x]] -= tier.sizes[x]
        need(
            tier.free == free and min(free) >= 0,
            f"at layer-step {step}: {tier.free} bytes are free, {free} should be",
        )
    if getattr(module, "new_state", base.new_state) is base.new_state and not compiled:
        given, kept = [LAYERS, WIDTH, seed], list(empty.state.shared[: base.FIRST])
        need(
            kept == given,
            f"state.shared[:{base.FIRST}] is {kept} in the end, and was {given}: layers, experts "
            f"a layer and seed; {base.FIRST} and {base.SECOND} are free",
        )
    heard = static.intersection([x for _, x, *_ in watched.calls] + watched.asked)
    need(not heard, f"it was told of, or let go, experts {heard}, which never leave")


def lowest_score_leaves(module: ModuleType) -> None:
    """Whoever has the lowest score leaves first, whatever the order of events."""
    lives = [drive(module, seed) for seed in SEEDS]
    left = sum(len(life.left) for life in lives)
    need(left > 100, f"in {len(lives)} lives {left} experts left")
    told = Counter(name for life in lives for name, *_ in life.calls)
    silent = [name for name in RESCORING if hasattr(module, name) and not told[name]]
    need(not silent, f"it was never asked for {', '.join(silent)}")


def both_engines_call_it_alike(module: ModuleType) -> None:
    """Both engines tell it the same, in the same order."""
    if getattr(module, "new_state", base.new_state) is not base.new_state:
        return  # it remembers what it likes, and is never compiled
    for seed in SEEDS[:6]:
        calls = drive(module, seed).calls
        for name, x, now, *_, score in calls:
            need(
                abs(score) < 1 << 63,
                f"{name} of expert {x} at layer-step {now} returned {score}, and the compiled "
                "engine has 64 bits for a score",
            )
        _same(drive(module, seed, compiled=True).calls, calls)


def the_same_life_twice(module: ModuleType) -> None:
    """The same life gives the same victims."""
    _same(drive(module, 11).calls, drive(module, 11).calls)


def two_caches_share_nothing(module: ModuleType) -> None:
    """What it remembers of one cache does not change another."""
    alone = drive(module, 3).calls  # of a module that has seen nothing: this rule comes first
    drive(module, 4)
    _same(alone, drive(module, 3).calls, "; after another cache's life, ")


def _same(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]], then: str = ", and ") -> None:
    """Both lives are the same; a call is a hook's name, its arguments but the state, its answer."""
    for i, (a, b) in enumerate(zip(one, other)):
        need(a == b, f"call {i} was {a}{then}then {b} (hook, expert, now, score)")
    need(len(one) == len(other), f"{len(one)} calls{then}then {len(other)}")


RULES: tuple[Rule, ...] = (
    rule_of_arguments("eviction"),
    two_caches_share_nothing,  # first: a class has no memory of other lives yet
    lowest_score_leaves,
    the_same_life_twice,
    both_engines_call_it_alike,
    says_what_it_does,
)
