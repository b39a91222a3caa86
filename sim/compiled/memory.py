"""Residency in flat arrays: see ``arrays.Tier``. The rules are those of ``sim.memory``."""

from __future__ import annotations

from sim.compiled import policies
from sim.compiled.arrays import Tier
from sim.compiled.jit import part

EVICTION, STEP, PASSED, PREDICTED, SPARED = range(5)  # places in Tier.policy


@part
def before(t: Tier, a: int, b: int) -> bool:
    return bool(t.bound[a] < t.bound[b] or (t.bound[a] == t.bound[b] and a < b))


@part
def rise(t: Tier, first: int, i: int) -> None:
    x = t.heap[first + i]
    while i > 0:
        parent = (i - 1) >> 1
        y = t.heap[first + parent]
        if not before(t, x, y):
            break
        t.heap[first + i] = y
        t.place[y] = i
        i = parent
    t.heap[first + i] = x
    t.place[x] = i


@part
def sink(t: Tier, first: int, count: int, i: int) -> None:
    x = t.heap[first + i]
    while True:
        child = 2 * i + 1
        if child >= count:
            break
        y = t.heap[first + child]
        if child + 1 < count and before(t, t.heap[first + child + 1], y):
            child += 1
            y = t.heap[first + child]
        if not before(t, y, x):
            break
        t.heap[first + i] = y
        t.place[y] = i
        i = child
    t.heap[first + i] = x
    t.place[x] = i


@part
def push(t: Tier, x: int) -> None:
    p = t.partition[x]
    i = t.count[p]
    t.count[p] = i + 1
    t.heap[t.segment[p] + i] = x
    rise(t, t.segment[p], i)


@part
def pop(t: Tier, p: int) -> int:
    """Take the first of partition ``p`` out of its heap."""
    first = t.segment[p]
    x = t.heap[first]
    last = t.count[p] - 1
    t.count[p] = last
    if last > 0:
        t.heap[first] = t.heap[first + last]
        sink(t, first, last, 0)
    return int(x)


@part
def rescore(t: Tier, x: int, score: int) -> None:
    t.score[x] = score
    if score < t.bound[x]:
        t.bound[x] = score
        rise(t, t.segment[t.partition[x]], t.place[x])


@part
def reserve(t: Tier, x: int) -> int:
    """Hold room for ``x``; returns how many left (``t.victims``), or -1 if there is none."""
    p = t.partition[x]
    missing = t.size[x] - t.free[p]
    victims = aside = 0
    while missing > 0 and t.count[p] > 0:
        y = t.heap[t.segment[p]]
        if t.bound[y] != t.score[y]:
            t.bound[y] = t.score[y]
            sink(t, t.segment[p], t.count[p], 0)
            continue
        pop(t, p)
        if t.pinned[y]:
            t.aside[aside] = y
            aside += 1
        else:
            t.victims[victims] = y
            victims += 1
            missing -= t.size[y]
    for i in range(aside):
        push(t, t.aside[i])
    if missing > 0:
        for i in range(victims):
            push(t, t.victims[i])
        return -1
    code, now = t.policy[EVICTION], t.policy[STEP]
    for i in range(victims):
        y = t.victims[i]
        t.resident[y] = 0
        t.free[p] += t.size[y]
        policies.evicted(code, t.state, y, now, t.score[y])
    t.free[p] -= t.size[x]
    if victims > 0 and t.policy[SPARED]:
        for i in range(aside):
            y = t.aside[i]
            rescore(t, y, policies.spared(code, t.state, y, now, t.score[y]))
    return victims


@part
def release(t: Tier, x: int) -> None:
    t.free[t.partition[x]] += t.size[x]


@part
def insert(t: Tier, x: int, needed: bool) -> None:
    """``x`` has landed in the room reserved for it."""
    code, now = t.policy[EVICTION], t.policy[STEP]
    score = policies.inserted(code, t.state, x, now)
    if needed:
        score = policies.used(code, t.state, x, now, score)
    t.resident[x] = 1
    t.score[x] = score
    t.bound[x] = score
    push(t, x)


@part
def use(t: Tier, x: int) -> None:
    rescore(t, x, policies.used(t.policy[EVICTION], t.state, x, t.policy[STEP], t.score[x]))


@part
def pass_over(t: Tier, x: int) -> None:
    rescore(t, x, policies.passed(t.policy[EVICTION], t.state, x, t.policy[STEP], t.score[x]))


@part
def predict(t: Tier, x: int) -> None:
    rescore(t, x, policies.predicted(t.policy[EVICTION], t.state, x, t.policy[STEP], t.score[x]))
