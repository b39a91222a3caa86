"""Random systems in which little fits and links fall behind: where rules of loading show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from test_properties import MIB, Small, predictor, smalls

DURATIONS = st.sampled_from([0, 1, 20, 100])


@st.composite
def second_thoughts(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    """A layer predicted twice; the later one is less sure of what both name."""
    recall = st.sampled_from([1.0, 0.8, 0.3])
    oracles = [{"distance": distance, "recall": draw(recall)} for distance in (2, 1)]
    return [("oracle", {"cost_us": 0.0, **oracle}) for oracle in oracles]


@st.composite
def strained(draw: st.DrawFn) -> Small:
    """Small rooms, host memory of a few experts, several predictors that are often wrong."""
    small = draw(smalls(predictors=0))
    layers, experts = draw(st.integers(3, 4)), draw(st.integers(3, 6))
    k = draw(st.integers(1, 2))
    size = st.integers(20, 400)
    sizes = tuple(draw(size) for _ in range(layers))
    if draw(st.booleans()):
        sizes = sizes[:1] * layers
    if draw(st.integers(0, 3)):
        room: tuple[int, ...] = (draw(st.integers(k, 3 * k)),)
    else:
        room = tuple(draw(st.integers(k, k + 2)) for _ in range(layers))
    link: dict[str, Any] = small.link | {
        "unified": draw(st.integers(0, 4)) == 0,
        "gb_s": draw(st.sampled_from([0.3, 1.0, 10.0])),
        "chunk_mib": (c := draw(st.sampled_from([None, None, 7.0, 64.0]))) and c / MIB,
    }
    tight = not link["unified"] and draw(st.integers(0, 3)) > 0
    durations = {name: draw(DURATIONS) for name in small.cost}
    durations["slowed"] = small.cost["slowed"]
    config = small.config | {"overlap": draw(st.sampled_from(["per_expert", "grouped", "none"]))}
    if link["unified"]:
        config["misses"], link["contended"] = {"policy": "load"}, None
    config["prefetch"] = small.config["prefetch"] | {
        "cancel_stale": draw(st.integers(0, 3)) > 0,
        "extra": draw(st.integers(0, 2)),
    }
    wrong = predictor(congested=True)
    several = st.lists(wrong | predictor(), min_size=1, max_size=3)
    return replace(
        small,
        layers=layers,
        experts=experts,
        k=k,
        requests=tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))),
        prompt=draw(st.integers(0, 4)),
        sizes=sizes,
        room=room,
        host=draw(st.integers(1, 2 * k + 3)) if tight else None,
        cost=durations | {"norm": min(durations["norm"], durations["attention"])},
        link=link,
        predictors=tuple(draw(several | second_thoughts())),
        config=config,
    )
