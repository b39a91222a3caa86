"""The order in which residents leave a tier, which an eviction's scores give, or its own queues.

Scores stand in a tree eight wide, or, where no new score is below another (``ASCENDING``), in a
list from the lowest to the highest, those alike in the order in which they came. In the tree a
score that rises writes nothing above it: what stands there may be too low, until it is found so.
"""

from __future__ import annotations

from sim.compiled import policies
from sim.compiled.arrays import (
    A_NODE,
    A_PARTITION,
    A_PLACE,
    AFTER,
    BASE,
    BEFORE,
    FANOUT,
    FAR,
    FIRST,
    IN_LIST,
    IN_TREE,
    LEAF,
    LEAVES,
    NOW_AT,
    OWN_QUEUES,
    ROOT,
    SCORE,
    Array,
    Tier,
)
from sim.compiled.jit import part


@part
def take_first(t: Tier, p: int) -> tuple[int, int]:
    """(expert, score) of who leaves partition ``p`` next, out of its order now; -1: nobody."""
    if t.kept_in == OWN_QUEUES:
        return policies.victim(t.eviction, t.state, p, t.of[NOW_AT]), 0
    row = p * A_PARTITION
    root = t.part[row + ROOT]
    if t.kept_in == IN_LIST:
        x = _head(t.order, root)
        if x < 0:
            return -1, 0
        _unlink(t.order, x)
        return x, t.order[x * A_NODE + SCORE]
    leaves = t.part[row + LEAVES]
    place = _lowest(t.order, root, leaves)
    if place < 0:
        return -1, 0
    score = t.order[root * FANOUT + place]
    t.order[root * FANOUT + place] = FAR
    _raise(t.order, root, place >> 3)
    return t.part[row + FIRST] + place - leaves, score


@part
def put_back(t: Tier, x: int, score: int) -> None:
    """``x``, just taken out, stays."""
    if t.kept_in == OWN_QUEUES:
        policies.kept(t.eviction, t.state, x, t.of[NOW_AT])
    elif t.kept_in == IN_LIST:
        head = _base(t, x)
        after = t.order[head * A_NODE + AFTER]
        while after != head and t.order[after * A_NODE + SCORE] < score:
            after = t.order[after * A_NODE + AFTER]
        _link(t.order, x, t.order[after * A_NODE + BEFORE])
    else:
        _write(t.order, _base(t, x), _leaf(t, x), score)


@part
def add(t: Tier, x: int, score: int) -> None:
    if t.kept_in == IN_TREE:
        _write(t.order, _base(t, x), _leaf(t, x), score)
    elif t.kept_in == IN_LIST:
        t.order[x * A_NODE + SCORE] = score
        _link(t.order, x, t.order[_base(t, x) * A_NODE + BEFORE])


@part
def move(t: Tier, x: int, score: int) -> None:
    """``x``, in its order, has another score."""
    if t.kept_in == IN_LIST:
        _unlink(t.order, x)
    add(t, x, score)


@part
def score_of(t: Tier, x: int) -> int:
    if t.kept_in == IN_LIST:
        return int(t.order[x * A_NODE + SCORE])
    if t.kept_in == OWN_QUEUES:
        return 0
    return int(t.order[_base(t, x) * FANOUT + _leaf(t, x)])


@part
def _base(t: Tier, x: int) -> int:
    return int(t.at[x * A_PLACE + BASE])


@part
def _leaf(t: Tier, x: int) -> int:
    return int(t.at[x * A_PLACE + LEAF])


# The list.


@part
def _unlink(order: Array, x: int) -> None:
    before, after = order[x * A_NODE + BEFORE], order[x * A_NODE + AFTER]
    order[before * A_NODE + AFTER], order[after * A_NODE + BEFORE] = after, before


@part
def _link(order: Array, x: int, before: int) -> None:
    after = order[before * A_NODE + AFTER]
    order[x * A_NODE + BEFORE], order[x * A_NODE + AFTER] = before, after
    order[before * A_NODE + AFTER] = order[after * A_NODE + BEFORE] = x


@part
def _head(order: Array, root: int) -> int:
    """The lowest of those with the lowest score; -1 where nobody is.

    Looked for here, not kept in order: which of a token's experts is higher no branch can guess.
    """
    x = order[root * A_NODE + AFTER]
    if x == root:
        return -1
    score, y = order[x * A_NODE + SCORE], order[x * A_NODE + AFTER]
    while y != root and order[y * A_NODE + SCORE] == score:
        x, y = min(x, y), order[y * A_NODE + AFTER]
    return int(x)


# The tree: the row of place p is p // FANOUT, counted from the root.


@part
def _least(tree: Array, row: int) -> int:
    """Of a row; in pairs, as each waits for the one before."""
    i = row * FANOUT
    a, b = min(tree[i], tree[i + 1]), min(tree[i + 2], tree[i + 3])
    c, d = min(tree[i + 4], tree[i + 5]), min(tree[i + 6], tree[i + 7])
    return int(min(a, b, c, d))


@part
def _write(tree: Array, root: int, place: int, score: int) -> None:
    """The leaf at ``place`` gets ``score``; nothing above it may be higher."""
    first = root * FANOUT
    tree[first + place] = score
    row = place >> 3  # // FANOUT, as numbers that are not negative
    while row > 1 and score < tree[first + row - 2]:
        tree[first + row - 2] = score
        row = (row - 2) >> 3


@part
def _raise(tree: Array, root: int, row: int) -> None:
    """What stands for ``row`` is its lowest again, and so on above it."""
    while row > 1:
        up = root * FANOUT + row - 2
        least = _least(tree, root + row)
        if least == tree[up]:
            break
        tree[up] = least
        row = (row - 2) >> 3


@part
def _lowest(tree: Array, root: int, leaves: int) -> int:
    """The first leaf with the lowest score; -1 where all are FAR."""
    while True:
        least, other, row = _least(tree, root), _least(tree, root + 1), 0
        if other < least:
            least, row = other, 1
        if least == FAR:
            return -1
        while True:  # down, to where it comes from
            first, column, others = (root + row) * FANOUT, 0, 1
            for i in range(FANOUT):  # arithmetic: there is no branch to guess wrong
                others &= tree[first + i] != least
                column += others
            if column == FANOUT:  # it has risen since
                _raise(tree, root, row)
                break
            place = FANOUT * row + column
            if place >= leaves:
                return place
            row = place + 2
