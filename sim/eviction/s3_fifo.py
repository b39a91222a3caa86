"""S3-FIFO: a small queue for what is new, a main queue for what was used again, and a ghost.

After Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023, as libCacheSim has
it: what leaves the small queue (a tenth of the room) after two uses or more goes on to the main
one, where uses buy further rounds; the rest leaves and is remembered in the ghost, and what the
ghost remembers arrives in the main queue, as does what the small one has no room for before
anything has left. That an expert is demanded is no use: only what comes after its arrival counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefetch_sim.sim.eviction import lists
from prefetch_sim.sim.eviction.base import LAYERS, WIDTH, State

SMALL, MAIN, GHOST, OUT = range(4)
NODES, PARTITIONS, QUEUES = 5, 6, 7  # places in State.shared; from QUEUES on, seven a partition
COUNT, ROOM, FULL = 0, 3, 6  # there: two of each queue; whether any has left
MOST_USES = 3
AGAIN = 2  # uses with which the small queue lets go to the main one


def begin(state: State, rooms: Sequence[int]) -> State:
    """``own``: two integers of links a node, then which queue, uses and arrival of each."""
    experts = state.shared[LAYERS] * state.shared[WIDTH]
    n = experts + 3 * len(rooms)
    own = [0] * (5 * n)
    own[2 * n : 3 * n] = [OUT] * n
    shared = [*state.shared, n, len(rooms)]
    for p, room in enumerate(rooms):
        small = max(1, room // 10)
        shared += [0, 0, 0, small, room - small, room - small, 0]
        for queue in (SMALL, MAIN, GHOST):
            lists.clear(own, n, experts + 3 * p + queue)
    return State(own, shared, state.future)


def partition(state: State, x: int) -> int:
    return 0 if state.shared[PARTITIONS] == 1 else x // state.shared[WIDTH]


def at(p: int, what: int, queue: int) -> int:
    """Where ``State.shared`` has COUNT or ROOM of a queue of partition ``p``."""
    return QUEUES + 7 * p + what + queue


def head(state: State, p: int, queue: int) -> int:
    return state.shared[LAYERS] * state.shared[WIDTH] + 3 * p + queue


def put(state: State, p: int, queue: int, x: int, first: bool) -> None:
    """Add ``x`` to a queue: where the oldest stands if ``first``, else as the newest."""
    n = state.shared[NODES]
    state.own[2 * n + x] = queue
    state.shared[at(p, COUNT, queue)] += 1
    if first:
        lists.add_oldest(state.own, n, head(state, p, queue), x)
    else:
        lists.add_newest(state.own, n, head(state, p, queue), x)


def take(state: State, p: int, queue: int, x: int) -> None:
    lists.remove(state.own, state.shared[NODES], x)
    state.shared[at(p, COUNT, queue)] -= 1


def victim(state: State, p: int, now: int) -> int:
    n, shared = state.shared[NODES], state.shared
    uses = 3 * n
    while True:
        small = shared[at(p, COUNT, SMALL)]
        if small > 0 and shared[at(p, COUNT, MAIN)] <= shared[at(p, ROOM, MAIN)]:
            x = lists.oldest(state.own, n, head(state, p, SMALL))
            take(state, p, SMALL, x)
            if state.own[uses + x] < AGAIN:
                return x
            state.own[uses + x] = 0
        elif shared[at(p, COUNT, MAIN)] > 0:
            x = lists.oldest(state.own, n, head(state, p, MAIN))
            take(state, p, MAIN, x)
            if state.own[uses + x] == 0:
                return x
            state.own[uses + x] -= 1
        else:
            return -1
        put(state, p, MAIN, x, False)


def kept(state: State, x: int, now: int) -> None:
    put(state, partition(state, x), state.own[2 * state.shared[NODES] + x], x, True)


def evicted(state: State, x: int, now: int, score: int) -> None:
    n, p = state.shared[NODES], partition(state, x)
    was = state.own[2 * n + x]
    state.own[2 * n + x] = OUT
    state.shared[at(p, FULL, 0)] = 1
    if was == SMALL and state.shared[at(p, ROOM, GHOST)] > 0:
        if state.shared[at(p, COUNT, GHOST)] == state.shared[at(p, ROOM, GHOST)]:
            y = lists.oldest(state.own, n, head(state, p, GHOST))
            take(state, p, GHOST, y)
            state.own[2 * n + y] = OUT
        put(state, p, GHOST, x, False)


def inserted(state: State, x: int, now: int) -> int:
    n, p = state.shared[NODES], partition(state, x)
    remembered = state.own[2 * n + x] == GHOST
    if remembered:
        take(state, p, GHOST, x)
    state.own[3 * n + x] = 0
    state.own[4 * n + x] = now
    small = state.shared[at(p, COUNT, SMALL)] < state.shared[at(p, ROOM, SMALL)]
    if remembered or not (small or state.shared[at(p, FULL, 0)]):
        put(state, p, MAIN, x, False)
    else:
        put(state, p, SMALL, x, False)
    return 0


def used(state: State, x: int, now: int, score: int) -> int:
    n = state.shared[NODES]
    if state.own[4 * n + x] != now:
        state.own[3 * n + x] = min(MOST_USES, state.own[3 * n + x] + 1)
    return 0
