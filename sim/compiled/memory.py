"""Residency in flat arrays: see ``arrays.Tier``. The rules are those of ``sim.memory``."""

from __future__ import annotations

from sim.compiled import order, policies
from sim.compiled.arrays import (
    A_PAIR,
    A_PARTITION,
    A_PLACE,
    FAR,
    FREE,
    HELD,
    LAYER_OF,
    NEWS,
    NOW_AT,
    OWN_QUEUES,
    PARTITION,
    PIN,
    USED,
    WHO,
    Array,
    Tier,
)
from sim.compiled.jit import part
from sim.eviction.base import LAYERS


@part
def partition(t: Tier, x: int) -> int:
    return int(t.at[x * A_PLACE + PARTITION])


@part
def search(t: Tier, x: int) -> tuple[int, int]:
    """Take out who is to leave for ``x``: how many (``t.victims``), -1 if there is no room.

    And how many pinned ones with lower scores stay (``t.aside``). Where there is no room, nothing
    is done.
    """
    p = partition(t, x)
    missing = t.size[x] - t.part[p * A_PARTITION + FREE]
    victims = aside = 0
    if missing <= 0:
        return 0, 0
    if t.kept_in == OWN_QUEUES and not _enough(t, p, missing):
        return -1, 0  # no search that fails: it would not leave queues as they were
    while missing > 0:
        y, score = order.take_first(t, p)
        if y < 0:
            break
        if t.pin[y] >= t.of[PIN]:
            t.aside[aside * A_PAIR + WHO], t.aside[aside * A_PAIR + HELD] = y, score
            aside += 1
        else:
            t.victims[victims * A_PAIR + WHO], t.victims[victims * A_PAIR + HELD] = y, score
            victims += 1
            missing -= t.size[y]
    for i in range(aside - 1, -1, -1):
        order.put_back(t, t.aside[i * A_PAIR + WHO], t.aside[i * A_PAIR + HELD])
    if missing > 0:
        give_up(t, victims)
        return -1, 0
    return victims, aside


@part
def _enough(t: Tier, p: int, missing: int) -> bool:
    """Whether ``missing`` bytes of partition ``p`` can leave."""
    if t.of[PIN] != FAR:
        first = t.of[PIN] % t.state.shared[LAYERS] * t.width  # what is pinned is of one layer
        for y in range(first, first + t.width):
            if t.resident[y] and t.pin[y] >= t.of[PIN] and partition(t, y) == p:
                missing += t.size[y]
    return bool(missing <= t.part[p * A_PARTITION + USED])


@part
def give_up(t: Tier, victims: int) -> None:
    """Those found by ``search`` stay."""
    for i in range(victims - 1, -1, -1):
        order.put_back(t, t.victims[i * A_PAIR + WHO], t.victims[i * A_PAIR + HELD])


@part
def take(t: Tier, x: int, victims: int, aside: int) -> None:
    """Those found by ``search`` leave, and their room is held for ``x``."""
    code, now, row = t.eviction, t.of[NOW_AT], partition(t, x) * A_PARTITION
    for i in range(victims):
        y = t.victims[i * A_PAIR + WHO]
        t.resident[y] = 0
        t.part[row + FREE] += t.size[y]
        t.part[row + USED] -= t.size[y]
        policies.evicted(code, t.state, y, now, t.victims[i * A_PAIR + HELD])
    if t.spared and victims > 0:
        for i in range(aside):
            y, score = t.aside[i * A_PAIR + WHO], t.aside[i * A_PAIR + HELD]
            _rescore(t, y, score, policies.spared(code, t.state, y, now, score))
    t.part[row + FREE] -= t.size[x]


@part
def reserve(t: Tier, x: int) -> int:
    """Hold room for ``x``; returns how many left (``t.victims``), or -1 if there is none."""
    victims, aside = search(t, x)
    if victims >= 0:
        take(t, x, victims, aside)
    return victims


@part
def insert(t: Tier, x: int, needed: bool) -> None:
    """``x`` has landed in the room reserved for it."""
    code, now = t.eviction, t.of[NOW_AT]
    score = policies.inserted(code, t.state, x, now)
    if needed:
        score = policies.used(code, t.state, x, now, score)
    t.resident[x] = 1
    t.part[partition(t, x) * A_PARTITION + USED] += t.size[x]
    order.add(t, x, score)
    _news(t, x)


@part
def use(t: Tier, x: int) -> None:
    score = order.score_of(t, x)
    _rescore(t, x, score, policies.used(t.eviction, t.state, x, t.of[NOW_AT], score))
    _news(t, x)


@part
def recall(t: Tier, routed: Array, missed: Array, first: int, end: int) -> int:
    """Make residents of ``routed[first:end]`` what they are known to be; returns how many.

    Room and order are not kept: all that is missing goes the short way, which asks for neither.
    """
    hits = 0
    for i in range(first, end):
        t.resident[routed[i]] = hit = 1 - missed[i]
        hits += hit
    return hits


@part
def predict(t: Tier, x: int) -> None:
    score = order.score_of(t, x)
    _rescore(t, x, score, policies.predicted(t.eviction, t.state, x, t.of[NOW_AT], score))
    _news(t, x)


@part
def _rescore(t: Tier, x: int, was: int, score: int) -> None:
    if score != was:
        order.move(t, x, score)


# What an eviction is told of passing.


@part
def _news(t: Tier, x: int) -> None:
    """Something happened to ``x``: it is to hear when its layer is routed without it."""
    if t.passed and not t.at[x * A_PLACE + NEWS]:
        t.at[x * A_PLACE + NEWS] = 1
        row = t.at[x * A_PLACE + LAYER_OF] * (1 + t.width)
        t.news[row] += 1
        t.news[row + t.news[row]] = x


@part
def pass_over(t: Tier, layer: int) -> None:
    """``layer`` was routed; what it needs is pinned."""
    row, kept = layer * (1 + t.width), 0
    for i in range(row + 1, row + 1 + t.news[row]):
        x = t.news[i]
        if t.resident[x] and t.pin[x] == t.of[PIN]:
            kept += 1
            t.news[row + kept] = x
            continue
        t.at[x * A_PLACE + NEWS] = 0
        if t.resident[x]:
            score = order.score_of(t, x)
            _rescore(t, x, score, policies.passed(t.eviction, t.state, x, t.of[NOW_AT], score))
    t.news[row] = kept
