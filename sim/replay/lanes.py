"""A stage of the load path on a real device: its queue is emptied by engines, one a lane."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from prefetch_sim.sim.engine.load import Load
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.transfer_queue import TransferQueue
from prefetch_sim.sim.replay.device import Engine, Mark, Work

Piece = tuple[int, int]  # offset in the expert, and bytes
Move = Callable[[int, Sequence[Piece]], Work]  # what moves pieces of an expert


class Lanes:
    """Moves what its queue says next, as long as a lane is free.

    ``move(x, pieces)`` says how; ``check(x)`` is asked of each expert that is through; then
    ``loader.moved`` hears of it, and calls ``serve`` when all is settled. ``before`` is the stage
    whose pieces this one moves on. ``log`` hears of each move: stage, load, from when, until when.
    """

    def __init__(
        self,
        name: str,
        queue: TransferQueue,
        lanes: Sequence[Engine],
        move: Move,
        check: Callable[[int], None],
        loader: Loader,
        before: Lanes | None = None,
    ) -> None:
        self.name, self.queue = name, queue
        self.log: Callable[[str, Load, int, int], None] | None = None
        self._free, self._move, self._check = list(lanes), move, check
        self._loader, self._before = loader, before
        self._feeds = False  # whether another stage moves on what this one has moved
        self._through: dict[int, deque[Piece]] = {}  # then, by load: what that one may move
        if before is not None:
            before._feeds = True

    def serve(self, now: int) -> None:
        """Start moves while a lane is free and a load may start."""
        while self._free and (taken := self.queue.take(now)):
            load, nbytes = taken
            lane, pieces = self._free.pop(), self._pieces(load, nbytes)
            mark = Mark(f"{self.name}, expert {load.expert}")
            mark.then = partial(self._done, mark, lane, load, pieces)
            lane.put(self._move(load.expert, pieces), mark)

    def _pieces(self, load: Load, nbytes: int) -> list[Piece]:
        """Where in the expert the ``nbytes`` lie that have just been taken from the queue."""
        there = self._before._through.get(load.seq) if self._before else None
        if there is None:  # all of it is there, and moves in order
            return [(load.size - load.ready[self.queue.stage] - nbytes, nbytes)]
        found = []
        while nbytes:
            offset, count = there.popleft()
            used = min(count, nbytes)
            if used < count:
                there.appendleft((offset + used, count - used))
            found.append((offset, used))
            nbytes -= used
        return found

    def _done(self, mark: Mark, lane: Engine, load: Load, pieces: list[Piece], now: int) -> None:
        self._free.append(lane)
        if self.log is not None:
            self.log(self.name, load, mark.start, mark.end)
        stage, nbytes = self.queue.stage, sum(count for _, count in pieces)
        if self._feeds:
            self._through.setdefault(load.seq, deque()).extend(pieces)
        if load.left[stage] == nbytes:
            self._check(load.expert)
            if self._before is not None:
                self._before._through.pop(load.seq, None)
        self._loader.moved(load, stage, nbytes, now)
