"""How good bounds are: never above a run's time, and near the least traffic that there is.

``python tests/least.py 20000 2000``: random systems that are run, and small ones, of experts of
several sizes, whose least traffic is searched for among all policies.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from harness import machine, make_trace, system
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from test_properties import Small, smalls

from prefetch_sim.sim.results.fewest_bytes import fewest_bytes
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.tiers import make_cache

Experts = frozenset[int]
# Half of the systems evict as the bounds do, so that they come near.
BOUNDED = st.one_of(smalls(), smalls(evictions=("belady",)))


def beaten(done: Simulation) -> list[str]:
    """The bounds that are above the run's time."""
    found = results(done)
    return [f"{name}: {ms}" for name, ms in found["bounds_ms"].items() if ms > found["total_ms"]]


def streams(done: Simulation) -> bool:
    """Whether a set was larger than the cache."""
    inputs = done.inputs
    sets = np.diff(inputs.workload.table.first_routed).reshape(-1, len(inputs.sizes))
    return bool((sets * inputs.sizes > inputs.cache_bytes).any())


# All policies


def staying(held: Experts, size: Sequence[int], room: int) -> Iterator[Experts]:
    """What of ``held`` may stay in ``room``: each choice to which nothing can be added."""
    experts = sorted(held)

    def choose(i: int, kept: Experts, left: int, smallest: float) -> Iterator[Experts]:
        if i == len(experts):
            if smallest > left:
                yield kept
            return
        x = experts[i]
        if size[x] <= left:
            yield from choose(i + 1, kept | {x}, left - size[x], smallest)
        yield from choose(i + 1, kept, left, min(smallest, size[x]))

    return choose(0, frozenset(), room, float("inf"))


def _loads(states: dict[Experts, int], routed: Experts, size: Sequence[int], room: int) -> Any:
    """What the cache may hold after ``routed``, and the least bytes for it."""
    after: dict[Experts, int] = {}
    if sum(size[x] for x in routed) <= room:
        left = room - sum(size[x] for x in routed)
        for held, cost in states.items():
            loaded = cost + sum(size[x] for x in routed - held)
            for kept in staying(held - routed, size, left):
                after[kept | routed] = min(loaded, after.get(kept | routed, loaded))
        return after
    # It streams through: one load after the other, in any order, each needed once.
    known: set[tuple[Experts, Experts]] = set()
    ways = [(cost, i, held, held & routed) for i, (held, cost) in enumerate(states.items())]
    heapify(ways)
    number = len(ways)
    while ways:
        cost, _, held, computed = heappop(ways)
        if (held, computed) in known:
            continue
        known.add((held, computed))
        if computed == routed:
            after.setdefault(held, cost)
        for x in routed - computed:
            for kept in staying(held, size, room - size[x]):
                number += 1
                heappush(ways, (cost + size[x], number, kept | {x}, computed | {x}))
    return after


def search(
    sets: Sequence[Collection[int]], size: Sequence[int], room: int, resident: Collection[int]
) -> list[int]:
    """The least bytes moved by the end of each of ``sets``, each found apart from the others."""
    states = {frozenset(resident): 0}
    least = []
    for routed in sets:
        states = _loads(states, frozenset(routed), size, room)
        least.append(min(states.values()))
    return least


# Small systems


def mixed(rng: np.random.Generator) -> Inputs:
    """Two sizes by turns, or one of its own for each layer."""
    layers = int(rng.integers(2, 4))
    sizes = rng.choice(400, 2 if rng.random() < 0.5 else layers, replace=False) + 1
    return _small(rng, sizes[np.arange(layers) % len(sizes)].tolist(), batch=1)


def streaming(rng: np.random.Generator) -> Inputs:
    """One size, and more tokens at once."""
    return _small(rng, [1] * int(rng.integers(1, 3)), batch=3)


def _small(rng: np.random.Generator, sizes: list[int], batch: int) -> Inputs:
    layers, experts = len(sizes), int(rng.integers(2, 5))
    k = int(rng.integers(1, min(2, experts - 1) + 1))
    requests = rng.integers(4, 9, size=1) if batch == 1 else rng.integers(1, 4, size=4)
    shape = int(requests.sum()), layers, experts
    trace = make_trace(
        np.argsort(rng.random(shape), axis=2)[:, :, :k].tolist(),
        experts,
        sizes=sizes,
        prompt=int(rng.integers(0, 4)),
        requests=requests.tolist(),
    )
    least = k * max(sizes)
    most = experts * sum(sizes) if batch == 1 else 2 * least
    return system(
        trace,
        machine(),
        capacity=int(rng.integers(least, most)),
        batch_size=batch,
        cache={"warm": "first" if rng.random() < 0.3 else "none"},
    )


def tightness(inputs: Inputs) -> tuple[float, bool]:
    """The bound as a share of the least traffic, and whether an expert must be loaded twice.

    It is not above the least for any beginning of the run, and the engines' are the same.
    """
    workload, cache = inputs.workload, make_cache(inputs)
    sets = [
        workload.routed(step, layer)[0]
        for step in workload.steps()
        for layer in range(workload.layers)
    ]
    resident = np.flatnonzero(cache.resident).tolist()
    least = search(sets, cache.sizes, inputs.cache_bytes[0], resident)
    bound = fewest_bytes(inputs, "simpy").tolist()
    assert bound == fewest_bytes(inputs, "compiled").tolist()
    assert all(b <= a for a, b in zip(least, bound)), (least, bound)
    once = sum(cache.sizes[x] for x in {x for routed in sets for x in routed} - set(resident))
    return bound[-1] / least[-1] if least[-1] else 1.0, least[-1] > once


def main() -> None:
    runs, searched = map(int, sys.argv[1:])
    began, counts = time.time(), Counter[str]()
    batch = 1000
    for number, first in enumerate(range(0, runs, batch)):

        @seed(number)
        @settings(
            max_examples=min(batch, runs - first),
            deadline=None,
            database=None,
            phases=[Phase.generate],
        )
        @given(BOUNDED)
        def never_beaten(small: Small) -> None:
            done = small.run()
            assert beaten(done) == [], small
            counts["runs"] += 1
            counts["of mixed sizes"] += len(set(small.sizes)) > 1
            counts["with a set larger than the cache"] += streams(done)

        never_beaten()
    assert counts["runs"] == runs, "no runs, or fewer than asked for"
    told = ", ".join(f"{n:,} {name}" for name, n in counts.items())
    print(f"{date.today()} {told}: no bound above a run's time ({time.time() - began:.0f} s)")
    began = time.time()
    found = [tightness(streaming(np.random.default_rng(i))) for i in range(searched)]
    exact = sum(share == 1 for share, _ in found)
    print(
        f"{date.today()} {searched:,} small systems of one size, most with a set larger than the "
        f"cache: no bound above the least traffic, {exact:,} equal it ({time.time() - began:.0f} s)"
    )
    began = time.time()
    found = [tightness(mixed(np.random.default_rng(i))) for i in range(searched)]
    for what, shares in (
        ("small systems of mixed sizes", [share for share, _ in found]),
        ("of them where an expert must be loaded twice", [s for s, twice in found if twice]),
    ):
        low, median = np.percentile(shares, [5, 50])
        print(
            f"{date.today()} {len(shares):,} {what}: link bound / least traffic {median:.3f} "
            f"(median), {low:.3f} (5th percentile), {min(shares):.3f} (least) "
            f"({time.time() - began:.0f} s)"
        )


if __name__ == "__main__":
    main()
