"""The order in which residents leave a tier, which an eviction's scores give, or its own queues.

Scores stand in a tree eight wide, or, where no new score is below another (``ASCENDING``), in a
list from the lowest to the highest, those alike in the order in which they came.
"""

from __future__ import annotations

from sim.compiled import policies
from sim.compiled.arrays import (
    AFTER,
    BASE,
    BEFORE,
    EVICTION,
    FAR,
    FIRST,
    IN_LIST,
    IN_TREE,
    KEPT_IN,
    LEAF,
    LEAVES,
    NOW_AT,
    OWN_QUEUES,
    ROOT,
    SCORE,
    Array,
    Tier,
)
from sim.compiled.jit import INDEX, part


@part
def take_first(t: Tier, p: int) -> tuple[int, int]:
    """(expert, score) of who leaves partition ``p`` next, out of its order now; -1: nobody."""
    if t.of[KEPT_IN] == OWN_QUEUES:
        return policies.victim(t.of[EVICTION], t.state, p, t.of[NOW_AT]), 0
    root = t.part[p, ROOT] & INDEX
    if t.of[KEPT_IN] == IN_LIST:
        x = _head(t.order, root)
        if x < 0:
            return -1, 0
        _unlink(t.order, x & INDEX)
        return x, t.order[x & INDEX, SCORE]
    leaves = t.part[p, LEAVES]
    place = _lowest(t.order, root, leaves)
    if place < 0:
        return -1, 0
    score = t.order[(root + (place >> 3)) & INDEX, place & 7]
    _write(t.order, root, place, FAR)
    return t.part[p, FIRST] + place - leaves, score


@part
def put_back(t: Tier, x: int, score: int) -> None:
    """``x``, just taken out, stays."""
    if t.of[KEPT_IN] == OWN_QUEUES:
        policies.kept(t.of[EVICTION], t.state, x, t.of[NOW_AT])
    elif t.of[KEPT_IN] == IN_LIST:
        head = t.at[x, BASE] & INDEX
        after = t.order[head, AFTER] & INDEX
        while after != head and t.order[after, SCORE] < score:
            after = t.order[after, AFTER] & INDEX
        _link(t.order, x, t.order[after, BEFORE] & INDEX)
    else:
        _write(t.order, t.at[x, BASE] & INDEX, t.at[x, LEAF] & INDEX, score)


@part
def add(t: Tier, x: int, score: int) -> None:
    if t.of[KEPT_IN] == IN_TREE:
        _write(t.order, t.at[x, BASE] & INDEX, t.at[x, LEAF] & INDEX, score)
    elif t.of[KEPT_IN] == IN_LIST:
        t.order[x, SCORE] = score
        _link(t.order, x, t.order[t.at[x, BASE] & INDEX, BEFORE] & INDEX)


@part
def move(t: Tier, x: int, score: int) -> None:
    """``x``, in its order, has another score."""
    if t.of[KEPT_IN] == IN_LIST:
        _unlink(t.order, x)
    add(t, x, score)


@part
def score_of(t: Tier, x: int) -> int:
    if t.of[KEPT_IN] == IN_LIST:
        return int(t.order[x, SCORE])
    if t.of[KEPT_IN] == OWN_QUEUES:
        return 0
    place = t.at[x, LEAF] & INDEX
    return int(t.order[(t.at[x, BASE] + (place >> 3)) & INDEX, place & 7])


# The list.


@part
def _unlink(order: Array, x: int) -> None:
    before, after = order[x, BEFORE] & INDEX, order[x, AFTER] & INDEX
    order[before, AFTER], order[after, BEFORE] = after, before


@part
def _link(order: Array, x: int, before: int) -> None:
    after = order[before, AFTER] & INDEX
    order[x, BEFORE], order[x, AFTER] = before, after
    order[before, AFTER] = order[after, BEFORE] = x


@part
def _head(order: Array, root: int) -> int:
    """The lowest of those with the lowest score; -1 where nobody is.

    Looked for here, not kept in order: which of a token's experts is higher no branch can guess.
    """
    x = order[root, AFTER] & INDEX
    if x == root:
        return -1
    score, y = order[x, SCORE], order[x, AFTER] & INDEX
    while y != root and order[y, SCORE] == score:
        x, y = min(x, y), order[y, AFTER] & INDEX
    return int(x)


# The tree.


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
