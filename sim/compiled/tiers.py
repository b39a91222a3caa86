"""Makes the kernel's tables of a memory tier as it stands before the run, warm or not."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from prefetch_sim.sim.compiled import policies
from prefetch_sim.sim.compiled.arrays import (
    FANOUT,
    FAR,
    IN_LIST,
    IN_TREE,
    STATIC,
    THERE,
    Candidate,
    Expert,
    Listed,
    Moment,
    Partition,
    Tier,
)
from prefetch_sim.sim.engine.tier import Tier as PlainTier
from prefetch_sim.sim.eviction.base import State
from prefetch_sim.sim.jit.rows import table
from prefetch_sim.sim.workload.future import Future
from prefetch_sim.sim.workload.step_table import integers


def make_tier(plain: PlainTier, eviction: ModuleType) -> Tier:
    n = len(plain.sizes)
    code = policies.EVICTIONS.index(eviction)
    kept_in = policies.KEPT_IN[code]
    not_routed, predicted, spared = policies.HOOKS[code]
    partition = integers(plain.partition_of)
    count = np.bincount(partition, minlength=len(plain.capacities))
    first = np.concatenate([[0], np.cumsum(count)[:-1]])  # partitions lie one after the other
    widths = [_width(size) for size in count.tolist()]
    leaves = (integers(widths) - 2 * FANOUT) // (FANOUT - 1)
    leaf = leaves[partition] + np.arange(n) - first[partition]
    places = leaves + widths
    root = n + np.arange(len(count)) if kept_in == IN_LIST else np.cumsum(places) - places
    tree = np.zeros(0, dtype=np.int64)
    if kept_in == IN_TREE:
        tree = _tree(plain, root, leaves, leaf, int(places.sum()))
    noted = np.zeros(n, dtype=np.int64)
    noted[[x for experts in plain.news for x in experts]] = 1
    news = np.zeros((plain.layers, 1 + plain.width), dtype=np.int64)
    for row, experts in zip(news, plain.news):
        row[: 1 + len(experts)] = len(experts), *experts
    own, shared, future = plain.state
    return Tier(
        eviction=code,
        not_routed=not_routed,
        predicted=predicted,
        spared=spared,
        kept_in=kept_in,
        layers=plain.layers,
        width=plain.width,
        at=table(Moment, now=-1, pin=FAR),
        size=integers(plain.sizes),
        experts=table(
            Expert,
            n,
            partition=partition,
            root=root[partition],
            leaf=leaf,
            layer=np.arange(n) // plain.width,
            noted=noted,
        ),
        partitions=table(
            Partition,
            len(count),
            free=plain.free,
            room=plain.room,
            root=root,
            leaves=leaves,
            first=first,
            used=plain.used,
        ),
        resident=_resident(plain),
        pin=np.full(n, -2, dtype=np.int64),
        tree=tree,
        list=_list(plain, root.tolist()) if kept_in == IN_LIST else table(Listed, 0),
        news=news,
        victims=table(Candidate, n),
        passed_over=table(Candidate, n),
        state=State(
            _memory(own),
            _memory(shared),
            Future(
                np.ascontiguousarray(future.positions, dtype=np.int32),
                _memory(future.start),
                _memory(future.cursor),
            ),
        ),
    )


def _resident(plain: PlainTier) -> Any:
    """``Tier.resident``."""
    resident = np.array(plain.resident, dtype=np.int8)
    resident[list(plain.static)] = STATIC
    return resident


def _memory(numbers: Sequence[int]) -> Any:
    """Numbers that an eviction remembers, where the kernel can write them."""
    return integers(numbers)


def _width(leaves: int) -> int:
    """The places in the last level of a tree: two rows, and FANOUT times more in each below."""
    width = 2 * FANOUT
    while width < leaves:
        width *= FANOUT
    return width


def _tree(plain: PlainTier, root: Any, leaves: Any, leaf: Any, places: int) -> Any:
    """``Tier.tree`` of the residents of ``plain``."""
    tree = np.full(places, FAR, dtype=np.int64)
    resident = _resident(plain) == THERE
    tree[(root[integers(plain.partition_of)] + leaf)[resident]] = integers(plain.scores)[resident]
    for first, inner in zip(root.tolist(), leaves.tolist()):
        rows = tree[first:].reshape(-1, FANOUT)
        for place in range(inner - 1, -1, -1):
            tree[first + place] = rows[place + 2].min()
    return tree


def _list(plain: PlainTier, heads: list[int]) -> Any:
    """``Tier.list`` of the residents of ``plain``."""
    ring = table(Listed, len(plain.sizes) + len(heads))
    ring.score[: len(plain.sizes)] = plain.scores
    inside: list[list[int]] = [[] for _ in heads]
    for x in sorted(range(len(plain.sizes)), key=lambda x: (plain.scores[x], x)):
        if plain.resident[x] and x not in plain.static:
            inside[plain.partition_of[x]].append(x)
    for head, residents in zip(heads, inside):
        rows = [head, *residents]
        ring.after[rows] = np.roll(rows, -1)
        ring.before[rows] = np.roll(rows, 1)
    return ring
