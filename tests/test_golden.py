"""Pinned results of a fixed trace, so that a change which was not meant to change them shows.

Only counts and nanoseconds: nothing here is right by itself, it is what the engine gave when it
agreed with the tests that count by hand. After a change that is meant to alter results, run
``python tests/test_golden.py`` from the root, look at each difference, and paste the new table.
"""

from __future__ import annotations

from typing import Any

import pytest
from harness import FixedCost, machine, system

from prefetch_sim.sim.engine.load import DISPOSITIONS
from prefetch_sim.sim.run import simulate
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec
from prefetch_sim.traces.synthetic import synthesise

MIB = 2**20
MODEL = ModelSpec(
    name="golden",
    layers=4,
    hidden=8,
    experts=12,
    top_k=3,
    expert_hidden=8,
    attention=GroupedQueryAttention(heads=1, kv_heads=1, head_dim=8),
    vocab=16,
    expert_bytes=(MIB, MIB, 2 * MIB, MIB),
)
COST = FixedCost(
    4, attention=300_000, gate=20_000, shared=50_000, expert=90_000, launch=5_000, epilogue=80_000,
    predictor=40_000,
)  # fmt: skip
LINK = {"gb_s": 8.0, "isolated_us": 20.0, "back_to_back_us": 2.0, "chunk_mib": 0.5}
DISK = {"gb_s": 4.0, "stream_gb_s": 1.5, "latency_us": 60.0, "queue_depth": 4, "read_mib": 0.5}

CONFIGS: dict[str, dict[str, Any]] = {
    "lru, no prefetch": {},
    "oracle at 0.8, top-k + 1": {
        "predictors": [("oracle", {"recall": 0.8})],
        "prefetch": {"extra": 1},
    },
    "hybrid, deadline-aware, prediction-aware": {
        "predictors": [
            ("previous-token", {"distance": 2, "placement": "inline"}),
            ("oracle", {"recall": 0.9, "cost_us": 15.0}),
        ],
        "policy": "deadline-aware",
        "eviction": "prediction-aware",
    },
    "batch of 3, grouped, threshold, least-stale": {
        "predictors": [("transition", {})],
        "policy": "threshold",
        "eviction": "least-stale",
        "batch_size": 3,
        "overlap": "grouped",
        "prefetch": {"threshold": 0.3, "cancel_stale": False},
    },
    "room for one set, lfu": {
        "capacity": 6 * MIB,
        "eviction": "lfu",
        "predictors": [("transition", {})],
    },
    "storage and a small host, belady": {
        "host": 30 * MIB,
        "eviction": "belady",
        "predictors": [("layer-frequency", {"distance": 1})],
        "cache": {"warm": "first"},
    },
    "one memory, a cache for each layer, random": {
        "unified": True,
        "eviction": "random",
        "capacity": [4 * MIB, 4 * MIB, 8 * MIB, 4 * MIB],
        "predictors": [("oracle", {"distance": 1, "recall": 0.7})],
        "prefetch": {"extra": 3},
        "seed": 7,
    },
}

# steps, hits, late, demand loads, (timely, late, useless, redundant, cancelled, dropped),
# bytes of the last stage, events, total ns
PINNED: dict[str, tuple[Any, ...]] = {
    "lru, no prefetch": (84, 552, 0, 539, (0, 0, 0, 0, 0, 0), 711983104, 1988, 272478720),
    "oracle at 0.8, top-k + 1": (
        84,
        833,
        160,
        98,
        (378, 160, 235, 593, 76, 0),
        1135607808,
        3001,
        256199848,
    ),
    "hybrid, deadline-aware, prediction-aware": (
        84,
        890,
        0,
        201,
        (374, 0, 56, 981, 0, 0),
        824180736,
        2527,
        254433592,
    ),
    "batch of 3, grouped, threshold, least-stale": (
        42,
        315,
        2,
        521,
        (52, 2, 163, 253, 0, 0),
        979369984,
        2314,
        259598304,
    ),
    "room for one set, lfu": (
        84,
        31,
        49,
        1011,
        (31, 49, 357, 0, 59, 272),
        1951399936,
        4716,
        342698944,
    ),
    "storage and a small host, belady": (
        84,
        794,
        0,
        297,
        (50, 0, 159, 538, 0, 0),
        666894336,
        2791,
        318738633,
    ),
    "one memory, a cache for each layer, random": (
        84,
        416,
        132,
        543,
        (184, 132, 518, 620, 121, 0),
        1787822080,
        4438,
        468072728,
    ),
}


def outcome(name: str) -> tuple[Any, ...]:
    config = dict(CONFIGS[name])
    trace = synthesise(MODEL, requests=4, prompt=6, decode=20, skew=0.6, reuse=0.3, seed=1)
    unified = config.pop("unified", False)
    config.setdefault("capacity", 24 * MIB)
    inputs = system(trace, machine(unified=unified, storage=DISK, **LINK), **config)
    done = simulate(inputs, cost=COST)  # type: ignore[arg-type]
    layers, totals = done.layers, done.totals
    experts, hits, late = (int(layers.column(c).sum()) for c in ("experts", "hits", "late"))
    return (
        len(done.steps),
        hits,
        late,
        experts - hits - late,
        tuple(map(sum, zip(*totals.dispositions))),
        sum(totals.moved_bytes[-1]),
        done.events,
        int(done.steps.column("end")[-1]),
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_has_changed(name: str) -> None:
    assert outcome(name) == PINNED[name]


def test_every_way_a_proposal_can_end_is_pinned() -> None:
    ways = [sum(column) for column in zip(*(pinned[4] for pinned in PINNED.values()))]
    assert len(ways) == len(DISPOSITIONS)
    assert min(ways) > 0


if __name__ == "__main__":
    print("PINNED: dict[str, tuple[Any, ...]] = {")
    for each in CONFIGS:
        print(f'    "{each}": {outcome(each)},')
    print("}")
