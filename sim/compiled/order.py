"""The order in which residents leave a tier, which an eviction's scores give, or its own queues.

Scores stand in a tree eight wide, or, where no new score is below another (``ASCENDING``), in a
list from the lowest to the highest, those alike in the order in which they came. In the tree a
score that rises writes nothing above it: what stands there may be too low, until it is found so.
"""

from __future__ import annotations

from prefetch_sim.sim.compiled import policies
from prefetch_sim.sim.compiled.arrays import (
    FANOUT,
    FAR,
    IN_LIST,
    IN_TREE,
    OWN_QUEUES,
    Array,
    Listed,
    Tier,
)
from prefetch_sim.sim.jit.jit import part
from prefetch_sim.sim.jit.rows import Table


@part
def take_first(t: Tier, p: int) -> tuple[int, int]:
    """(expert, score) of who leaves partition ``p`` next, out of its order now; -1: nobody."""
    if t.kept_in == OWN_QUEUES:
        return policies.victim(t.eviction, t.state, p, t.at.now), 0
    partition = t.partitions[p]
    root = partition.root
    if t.kept_in == IN_LIST:
        x = _head(t.list, root)
        if x < 0:
            return -1, 0
        _unlink(t.list, x)
        return x, t.list[x].score
    place = _lowest(t.tree, root, partition.leaves)
    if place < 0:
        return -1, 0
    score = t.tree[root + place]
    t.tree[root + place] = FAR
    _raise(t.tree, root, _above(place))
    return partition.first + place - partition.leaves, score


@part
def put_back(t: Tier, x: int, score: int) -> None:
    """``x``, just taken out, stays."""
    if t.kept_in == OWN_QUEUES:
        policies.kept(t.eviction, t.state, x, t.at.now)
    elif t.kept_in == IN_LIST:
        head = t.experts[x].root
        after = t.list[head].after
        while after != head and t.list[after].score < score:
            after = t.list[after].after
        _link(t.list, x, t.list[after].before)
    else:
        _write(t, x, score)


@part
def add(t: Tier, x: int, score: int) -> None:
    if t.kept_in == IN_TREE:
        _write(t, x, score)
    elif t.kept_in == IN_LIST:
        t.list[x].score = score
        _link(t.list, x, t.list[t.experts[x].root].before)


@part
def move(t: Tier, x: int, score: int) -> None:
    """``x``, in its order, has another score."""
    if t.kept_in == IN_LIST:
        _unlink(t.list, x)
    add(t, x, score)


@part
def score_of(t: Tier, x: int) -> int:
    if t.kept_in == IN_LIST:
        return t.list[x].score
    if t.kept_in == OWN_QUEUES:
        return 0
    expert = t.experts[x]
    return int(t.tree[expert.root + expert.leaf])


# The list.


@part
def _unlink(ring: Table[Listed], x: int) -> None:
    before, after = ring[x].before, ring[x].after
    ring[before].after, ring[after].before = after, before


@part
def _link(ring: Table[Listed], x: int, before: int) -> None:
    after = ring[before].after
    ring[x].before, ring[x].after = before, after
    ring[before].after = ring[after].before = x


@part
def _head(ring: Table[Listed], root: int) -> int:
    """The lowest of those with the lowest score; -1 where nobody is.

    Looked for here, not kept in order: which of a token's experts is higher no branch can guess.
    """
    x = ring[root].after
    if x == root:
        return -1
    score, y = ring[x].score, ring[x].after
    while y != root and ring[y].score == score:
        x, y = min(x, y), ring[y].after
    return x


# The tree: a partition's place p stands at ``root + p``; see ``arrays.Tier``.


@part
def _above(place: int) -> int:
    """Where the lowest of the row of ``place`` stands; -1 or -2 in the first rows."""
    return (place >> 3) - 2  # a division would ask about signs


@part
def _below(place: int) -> int:
    """The first place of the row that ``place`` is the lowest of."""
    return (place + 2) << 3


@part
def _least(tree: Array, i: int) -> int:
    """Of the row that begins at ``i``; in pairs, as each waits for the one before."""
    a, b = min(tree[i], tree[i + 1]), min(tree[i + 2], tree[i + 3])
    c, d = min(tree[i + 4], tree[i + 5]), min(tree[i + 6], tree[i + 7])
    return int(min(a, b, c, d))


@part
def _write(t: Tier, x: int, score: int) -> None:
    """The leaf of ``x`` gets ``score``; nothing above it may be higher."""
    tree, root, place = t.tree, t.experts[x].root, t.experts[x].leaf
    tree[root + place] = score
    up = _above(place)
    while up >= 0 and score < tree[root + up]:
        tree[root + up] = score
        up = _above(up)


@part
def _raise(tree: Array, root: int, up: int) -> None:
    """At ``up`` stands the lowest of its row again, and so on above it."""
    while up >= 0:
        least = _least(tree, root + _below(up))
        if least == tree[root + up]:
            break
        tree[root + up] = least
        up = _above(up)


@part
def _lowest(tree: Array, root: int, leaves: int) -> int:
    """The first leaf with the lowest score; -1 where all are FAR."""
    while True:
        least, other, row = _least(tree, root), _least(tree, root + FANOUT), 0
        if other < least:
            least, row = other, FANOUT
        if least == FAR:
            return -1
        while True:  # down, to where it comes from
            column, others = 0, 1
            for i in range(FANOUT):  # arithmetic: there is no branch to guess wrong
                others &= tree[root + row + i] != least
                column += others
            if column == FANOUT:  # it has risen since
                _raise(tree, root, _above(row))
                break
            place = row + column
            if place >= leaves:
                return place
            row = _below(place)
