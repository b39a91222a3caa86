"""Residency is kept in tables (``arrays.Tier``). The rules are those of ``sim.engine.tier``."""

from __future__ import annotations

from prefetch_sim.sim.compiled import order, policies
from prefetch_sim.sim.compiled.arrays import FAR, OWN_QUEUES, STATIC, THERE, Array, Tier
from prefetch_sim.sim.jit.jit import part


@part
def fits(t: Tier, routed: Array, start: int, end: int) -> bool:
    """Whether ``routed[start:end]``, of one layer and so of one size, fit in together."""
    one = routed[start]
    size, room = t.size[one], t.partitions[t.experts[one].partition].room
    count = end - start
    if size * count <= room:
        return True
    others = 0
    for i in range(start, end):
        others += t.resident[routed[i]] != STATIC
    return bool(size * others <= room)


@part
def pinned(t: Tier, x: int) -> bool:
    return bool(t.pin[x] >= t.at.pin)


@part
def search(t: Tier, x: int) -> tuple[int, int]:
    """Take out who is to leave for ``x``: how many (``t.victims``), -1 if there is no room.

    And how many pinned ones with lower scores stay (``t.passed_over``). Where there is no room,
    nothing is done.
    """
    p = t.experts[x].partition
    missing = t.size[x] - t.partitions[p].free
    victims = passed_over = 0
    if missing <= 0:
        return 0, 0
    if t.kept_in == OWN_QUEUES and not _enough(t, p, missing):
        return -1, 0  # no search that fails: it would not leave queues as they were
    while missing > 0:
        y, score = order.take_first(t, p)
        if y < 0:
            break
        if pinned(t, y):
            t.passed_over[passed_over].expert = y
            t.passed_over[passed_over].score = score
            passed_over += 1
        else:
            t.victims[victims].expert = y
            t.victims[victims].score = score
            victims += 1
            missing -= t.size[y]
    for i in range(passed_over - 1, -1, -1):
        order.put_back(t, t.passed_over[i].expert, t.passed_over[i].score)
    if missing > 0:
        give_up(t, victims)
        return -1, 0
    return victims, passed_over


@part
def _enough(t: Tier, p: int, missing: int) -> bool:
    """Whether ``missing`` bytes of partition ``p`` can leave."""
    if t.at.pin != FAR:
        first = t.at.pin % t.layers * t.width  # what is pinned is of one layer
        for y in range(first, first + t.width):
            if t.resident[y] == THERE and pinned(t, y) and t.experts[y].partition == p:
                missing += t.size[y]
    return bool(missing <= t.partitions[p].used)


@part
def give_up(t: Tier, victims: int) -> None:
    """Those found by ``search`` stay."""
    for i in range(victims - 1, -1, -1):
        order.put_back(t, t.victims[i].expert, t.victims[i].score)


@part
def take(t: Tier, x: int, victims: int, passed_over: int) -> None:
    """Those found by ``search`` leave, and their room is held for ``x``."""
    code, now, partition = t.eviction, t.at.now, t.partitions[t.experts[x].partition]
    for i in range(victims):
        y = t.victims[i].expert
        t.resident[y] = 0
        partition.free += t.size[y]
        if t.kept_in == OWN_QUEUES:
            partition.used -= t.size[y]
        policies.evicted(code, t.state, y, now, t.victims[i].score)
    if t.spared and victims > 0:
        for i in range(passed_over):
            y, score = t.passed_over[i].expert, t.passed_over[i].score
            _rescore(t, y, score, policies.spared(code, t.state, y, now, score))
    partition.free -= t.size[x]


@part
def reserve(t: Tier, x: int) -> int:
    """Hold room for ``x``; returns how many left (``t.victims``), or -1 if there is none."""
    victims, passed_over = search(t, x)
    if victims >= 0:
        take(t, x, victims, passed_over)
    return victims


@part
def insert(t: Tier, x: int, needed: bool) -> None:
    """``x`` has landed in the room reserved for it."""
    code, now = t.eviction, t.at.now
    score = policies.inserted(code, t.state, x, now)
    if needed:
        score = policies.used(code, t.state, x, now, score)
    t.resident[x] = THERE
    if t.kept_in == OWN_QUEUES:
        t.partitions[t.experts[x].partition].used += t.size[x]
    order.add(t, x, score)
    _note(t, x)


@part
def use(t: Tier, x: int) -> None:
    if t.resident[x] == STATIC:
        return
    score = order.score_of(t, x)
    _rescore(t, x, score, policies.used(t.eviction, t.state, x, t.at.now, score))
    _note(t, x)


@part
def recall(t: Tier, routed: Array, missed: Array, first: int, end: int) -> int:
    """Make residents of ``routed[first:end]`` what they are known to be; returns how many.

    Room and order are not kept, nor who is static: all that is missing takes the ``shortcut``,
    which asks for none of it.
    """
    hits = 0
    for i in range(first, end):
        t.resident[routed[i]] = hit = 1 - missed[i]
        hits += hit
    return hits


@part
def predict(t: Tier, x: int) -> None:
    if t.resident[x] == STATIC:
        return
    score = order.score_of(t, x)
    _rescore(t, x, score, policies.predicted(t.eviction, t.state, x, t.at.now, score))
    _note(t, x)


@part
def _rescore(t: Tier, x: int, was: int, score: int) -> None:
    if score != was:
        order.move(t, x, score)


# What an eviction is told of layers that were routed without an expert.


@part
def _note(t: Tier, x: int) -> None:
    """Something happened to ``x``: it is to hear when its layer is routed without it."""
    if t.not_routed and not t.experts[x].noted:
        t.experts[x].noted = 1
        news = t.news[t.experts[x].layer]
        news[0] += 1
        news[news[0]] = x


@part
def routed(t: Tier, layer: int) -> None:
    """``layer`` was routed, and its set is pinned: the eviction hears of residents outside it."""
    news, kept = t.news[layer], 0
    for i in range(1, 1 + news[0]):
        x = news[i]
        if t.resident[x] and pinned(t, x):
            kept += 1
            news[kept] = x
            continue
        t.experts[x].noted = 0
        if t.resident[x]:
            score = order.score_of(t, x)
            _rescore(t, x, score, policies.not_routed(t.eviction, t.state, x, t.at.now, score))
    news[0] = kept
