"""Residency in flat arrays: see ``arrays.Tier``. The rules are those of ``sim.memory``."""

from __future__ import annotations

from sim.compiled import order, policies
from sim.compiled.arrays import (
    A_PARTITION,
    A_PLACE,
    FREE,
    NOW_AT,
    PARTITION,
    PIN,
    Tier,
)
from sim.compiled.jit import INDEX, part


@part
def partition(t: Tier, x: int) -> int:
    return int(t.at[x * A_PLACE + PARTITION] & INDEX)


@part
def reserve(t: Tier, x: int) -> int:
    """Hold room for ``x``; returns how many left (``t.victims``), or -1 if there is none."""
    p = partition(t, x)
    free = p * A_PARTITION + FREE
    missing = t.size[x] - t.part[free]
    victims = aside = 0
    if missing > 0:
        code, now = t.eviction, t.of[NOW_AT]
        while missing > 0:
            y, score = order.take_first(t, p)
            if y < 0:
                break
            if t.pin[y & INDEX] == t.of[PIN]:
                t.aside[aside, 0], t.aside[aside, 1] = y, score
                aside += 1
            else:
                t.victims[victims, 0], t.victims[victims, 1] = y, score
                victims += 1
                missing -= t.size[y & INDEX]
        for i in range(aside - 1, -1, -1):
            order.put_back(t, t.aside[i, 0] & INDEX, t.aside[i, 1])
        if missing > 0:
            for i in range(victims - 1, -1, -1):
                order.put_back(t, t.victims[i, 0] & INDEX, t.victims[i, 1])
            return -1
        for i in range(victims):
            y = t.victims[i, 0] & INDEX
            t.resident[y] = 0
            t.part[free] += t.size[y]
            policies.evicted(code, t.state, y, now, t.victims[i, 1])
        if t.spared and victims > 0:
            for i in range(aside):
                y = t.aside[i, 0] & INDEX
                order.move(t, y, policies.spared(code, t.state, y, now, t.aside[i, 1]))
    t.part[free] -= t.size[x]
    return victims


@part
def release(t: Tier, x: int) -> None:
    t.part[partition(t, x) * A_PARTITION + FREE] += t.size[x]


@part
def insert(t: Tier, x: int, needed: bool) -> None:
    """``x`` has landed in the room reserved for it."""
    code, now = t.eviction, t.of[NOW_AT]
    score = policies.inserted(code, t.state, x, now)
    if needed:
        score = policies.used(code, t.state, x, now, score)
    t.resident[x] = 1
    order.add(t, x, score)


@part
def use(t: Tier, x: int) -> None:
    score = order.score_of(t, x)
    _rescore(t, x, score, policies.used(t.eviction, t.state, x, t.of[NOW_AT], score))


@part
def pass_over(t: Tier, x: int) -> None:
    score = order.score_of(t, x)
    _rescore(t, x, score, policies.passed(t.eviction, t.state, x, t.of[NOW_AT], score))


@part
def predict(t: Tier, x: int) -> None:
    score = order.score_of(t, x)
    _rescore(t, x, score, policies.predicted(t.eviction, t.state, x, t.of[NOW_AT], score))


@part
def _rescore(t: Tier, x: int, was: int, score: int) -> None:
    if score != was:
        order.move(t, x, score)
