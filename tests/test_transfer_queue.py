"""The queue of a stage, alone: no clock, no link, no memory."""

from __future__ import annotations

from prefetch_sim.sim.engine.load import DEMAND, PREFETCH, Load
from prefetch_sim.sim.engine.transfer_queue import TransferQueue

FIRST, LATER = 0, 1  # keys


def load(seq: int, key: int, nbytes: int = 100) -> Load:
    origin = DEMAND if key == FIRST else PREFETCH
    return Load(seq, origin, key, seq, 0, 0, -1, nbytes, ready=[nbytes], left=[nbytes])


class Rooms:
    """Starts what is allowed, and remembers whom it was asked for."""

    def __init__(self) -> None:
        self.answers: dict[int, bool | None] = {}
        self.asked: list[int] = []

    def start(self, load: Load, now: int) -> bool | None:
        self.asked.append(load.expert)
        answer = self.answers.get(load.expert, True)
        if answer:
            load.started = now
        return answer


def queue(chunk: int | None = None) -> tuple[TransferQueue, Rooms]:
    rooms = Rooms()
    return TransferQueue(0, chunk, rooms.start), rooms


def order(waiting: TransferQueue) -> list[tuple[int, int]]:
    """(expert, bytes) as they go into service, one after the other."""
    taken = []
    while (item := waiting.take(0)) is not None:
        taken.append((item[0].expert, item[1]))
    return taken


def test_the_lowest_key_moves_first_then_the_oldest() -> None:
    waiting, _ = queue()
    for one in (load(3, LATER), load(1, LATER), load(2, FIRST)):
        waiting.submit(one)
    assert order(waiting) == [(2, 100), (1, 100), (3, 100)]


def test_a_load_in_chunks_lets_a_demand_pass_between_two() -> None:
    waiting, rooms = queue(chunk=40)
    waiting.submit(load(1, LATER))
    first = waiting.take(0)
    assert first is not None
    assert first[1] == 40
    waiting.submit(load(2, FIRST, 30))
    assert order(waiting) == [(2, 30), (1, 40), (1, 20)]
    assert rooms.asked == [1, 2]  # once each


def test_a_promoted_load_goes_first_and_once() -> None:
    waiting, _ = queue()
    early, late = load(1, LATER), load(2, LATER)
    waiting.submit(early)
    waiting.submit(late)
    late.key = FIRST
    waiting.submit(late)
    assert order(waiting) == [(2, 100), (1, 100)]


def test_a_cancelled_load_never_moves() -> None:
    waiting, rooms = queue()
    gone = load(1, LATER)
    waiting.submit(gone)
    gone.key = -1
    assert order(waiting) == []
    assert rooms.asked == []


def test_what_is_refused_leaves_and_what_must_wait_stays_first() -> None:
    waiting, rooms = queue(chunk=50)
    waiting.submit(load(5, LATER))
    assert waiting.take(0) is not None  # has begun: half of it is still to come
    for one in (load(1, LATER), load(2, FIRST), load(3, FIRST)):
        waiting.submit(one)
    rooms.answers = {2: None}
    rooms.asked.clear()
    # 2 waits for room, so of 3 and 1, which have not begun, nobody is asked.
    assert order(waiting) == [(5, 50)]
    assert set(rooms.asked) == {2}
    rooms.answers = {2: True, 1: False}
    assert order(waiting) == [(2, 50), (2, 50), (3, 50), (3, 50)]
    assert rooms.asked[-1] == 1  # refused: it is gone
    rooms.answers = {}
    assert order(waiting) == []
