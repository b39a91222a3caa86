"""Residency in flat arrays: see ``arrays.Tier``. The rules are those of ``sim.memory``."""

from __future__ import annotations

from sim.compiled import policies
from sim.compiled.arrays import (
    BASE,
    EVICTION,
    FAR,
    FIRST,
    FREE,
    LEAF,
    LEAVES,
    NOW_AT,
    PARTITION,
    PIN,
    QUEUES,
    ROOT,
    SPARED,
    Array,
    Tier,
)
from sim.compiled.jit import INDEX, part


@part
def _least(tree: Array, row: int) -> int:
    """Of a row; in pairs, as each waits for the one before."""
    a, b = min(tree[row, 0], tree[row, 1]), min(tree[row, 2], tree[row, 3])
    c, d = min(tree[row, 4], tree[row, 5]), min(tree[row, 6], tree[row, 7])
    return int(min(a, b, c, d))


@part
def _write(tree: Array, root: int, place: int, score: int) -> None:
    """The leaf at ``place`` gets ``score``; what is above follows, until one stays as it is."""
    row = place >> 3
    was = tree[(root + row) & INDEX, place & 7]
    tree[(root + row) & INDEX, place & 7] = score
    while row > 1:
        up, i = (row - 2) >> 3, (row - 2) & 7
        least, above = score, tree[(root + up) & INDEX, i]
        if score >= above:
            if was > above:
                break  # another of the row is the lowest
            least = _least(tree, (root + row) & INDEX)
            if least == above:
                break
        tree[(root + up) & INDEX, i] = least
        was, score, row = above, least, up


@part
def _lowest(tree: Array, root: int, leaves: int) -> int:
    """The first leaf with the lowest score; -1 where all are FAR."""
    least, other, row = _least(tree, root), _least(tree, root + 1), 0
    if other < least:
        least, row = other, 1
    while least < FAR:
        column, others = 0, 1
        for i in range(7):  # arithmetic: there is no branch to guess wrong
            others &= tree[(root + row) & INDEX, i] != least
            column += others
        if 8 * row + column >= leaves:
            return 8 * row + column
        row = 8 * row + column + 2
    return -1


@part
def reserve(t: Tier, x: int) -> int:
    """Hold room for ``x``; returns how many left (``t.victims``), or -1 if there is none."""
    p = t.at[x, PARTITION] & INDEX
    missing = t.size[x] - t.part[p, FREE]
    victims = aside = 0
    if missing > 0:
        code, now = t.of[EVICTION], t.of[NOW_AT]
        while missing > 0:
            y, score = _next(t, p)
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
            _keep(t, t.aside[i, 0] & INDEX, t.aside[i, 1])
        if missing > 0:
            for i in range(victims - 1, -1, -1):
                _keep(t, t.victims[i, 0] & INDEX, t.victims[i, 1])
            return -1
        for i in range(victims):
            y = t.victims[i, 0] & INDEX
            t.resident[y] = 0
            t.part[p, FREE] += t.size[y]
            policies.evicted(code, t.state, y, now, t.victims[i, 1])
        if t.of[SPARED] and victims > 0:
            for i in range(aside):
                y = t.aside[i, 0] & INDEX
                _keep(t, y, policies.spared(code, t.state, y, now, t.aside[i, 1]))
    t.part[p, FREE] -= t.size[x]
    return victims


@part
def _next(t: Tier, p: int) -> tuple[int, int]:
    """(expert, score) of who leaves partition ``p`` next, out of its order now; -1: nobody."""
    if t.of[QUEUES]:
        return policies.victim(t.of[EVICTION], t.state, p, t.of[NOW_AT]), 0
    root, leaves = t.part[p, ROOT] & INDEX, t.part[p, LEAVES]
    place = _lowest(t.tree, root, leaves)
    if place < 0:
        return -1, 0
    score = t.tree[(root + (place >> 3)) & INDEX, place & 7]
    _write(t.tree, root, place, FAR)
    return t.part[p, FIRST] + place - leaves, score


@part
def _keep(t: Tier, x: int, score: int) -> None:
    """``x`` comes back to its order."""
    if t.of[QUEUES]:
        policies.kept(t.of[EVICTION], t.state, x, t.of[NOW_AT])
    else:
        _write(t.tree, t.at[x, BASE] & INDEX, t.at[x, LEAF] & INDEX, score)


@part
def release(t: Tier, x: int) -> None:
    t.part[t.at[x, PARTITION] & INDEX, FREE] += t.size[x]


@part
def insert(t: Tier, x: int, needed: bool) -> None:
    """``x`` has landed in the room reserved for it."""
    code, now = t.of[EVICTION], t.of[NOW_AT]
    score = policies.inserted(code, t.state, x, now)
    if needed:
        score = policies.used(code, t.state, x, now, score)
    t.resident[x] = 1
    if not t.of[QUEUES]:
        _write(t.tree, t.at[x, BASE] & INDEX, t.at[x, LEAF] & INDEX, score)


@part
def use(t: Tier, x: int) -> None:
    score = _score(t, x)
    _rescore(t, x, score, policies.used(t.of[EVICTION], t.state, x, t.of[NOW_AT], score))


@part
def pass_over(t: Tier, x: int) -> None:
    score = _score(t, x)
    _rescore(t, x, score, policies.passed(t.of[EVICTION], t.state, x, t.of[NOW_AT], score))


@part
def predict(t: Tier, x: int) -> None:
    score = _score(t, x)
    _rescore(t, x, score, policies.predicted(t.of[EVICTION], t.state, x, t.of[NOW_AT], score))


@part
def _score(t: Tier, x: int) -> int:
    if t.of[QUEUES]:
        return 0
    place = t.at[x, LEAF] & INDEX
    return int(t.tree[(t.at[x, BASE] + (place >> 3)) & INDEX, place & 7])


@part
def _rescore(t: Tier, x: int, was: int, score: int) -> None:
    if score != was:
        _write(t.tree, t.at[x, BASE] & INDEX, t.at[x, LEAF] & INDEX, score)
