"""An eviction under observation: what it is told, and what it answers."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from prefetch_sim.experiments.checking.rules import need
from prefetch_sim.sim.eviction import base
from prefetch_sim.sim.setup import contracts


class Watched:
    """An eviction that keeps what it was told and the scores it gave, apart from memory's own."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.scores: dict[int, int] = {}  # of the residents
        self.left: list[int] = []
        self.spared_now: list[tuple[int, int]] = []  # (score, expert), in the present search
        self.calls: list[tuple[Any, ...]] = []
        self.ASCENDING = getattr(module, "ASCENDING", False)
        self.new_state = getattr(module, "new_state", base.new_state)
        for name in ("not_routed", "predicted"):
            if hasattr(module, name):
                setattr(self, name, self._rescoring(name))
        self.used = self._rescoring("used")
        if hasattr(module, "spared"):
            self.spared = self._sparing
        self.asked: list[int] = []  # whom its queues gave, or got back
        if hasattr(module, "begin"):
            self.begin = self._begin
        if hasattr(module, "victim"):
            self.victim, self.kept = self._victim, self._kept

    def _begin(self, state: Any, rooms: Any) -> Any:
        begun = self.module.begin(state, rooms)
        need(begun is not None, "begin returned None, and is to return the State, new or as it was")
        return begun

    def inserted(self, state: Any, x: int, now: int) -> int:
        need(x not in self.scores, f"expert {x} arrived twice")
        return self._note("inserted", x, now, self.module.inserted(state, x, now))

    def evicted(self, state: Any, x: int, now: int, score: int) -> None:
        need(x in self.scores, f"expert {x} left at layer-step {now}, and was not there")
        held = self.scores.pop(x)
        need(score == held, f"expert {x} left with the score {score}, and held {held}")
        self.left.append(x)
        self.calls.append(("evicted", x, now, score))
        if hasattr(self.module, "evicted"):
            said = self.module.evicted(state, x, now, score)
            need(said is None, f"evicted returned {said!r}, and is to return nothing")

    def _rescoring(self, name: str) -> Any:
        hook = getattr(self.module, name)

        def called(state: Any, x: int, now: int, score: int) -> int:
            need(
                score == self.scores[x], f"{name} was told {score}, and {x} holds {self.scores[x]}"
            )
            return self._note(name, x, now, hook(state, x, now, score))

        return called

    def _sparing(self, state: Any, x: int, now: int, score: int) -> int:
        self.spared_now.append((score, x))
        return int(self._rescoring("spared")(state, x, now, score))

    def _victim(self, state: Any, p: int, now: int) -> int:
        said = self.module.victim(state, p, now)
        need(
            said in self.scores,
            f"at layer-step {now}, victim gave {said!r} of partition {p}, where {self.scores} are",
        )
        self.asked.append(said)
        return int(said)

    def _kept(self, state: Any, x: int, now: int) -> None:
        self.asked.append(x)
        self.module.kept(state, x, now)

    def _note(self, name: str, x: int, now: int, said: Any) -> int:
        score = contracts.hold_score(f"{name} of expert {x} at layer-step {now}", said)
        self.calls.append((name, x, now, score))
        if self.ASCENDING and score != self.scores.get(x):
            highest = max(self.scores.values(), default=score)
            need(
                score >= highest,
                f"ASCENDING is True, and {name} of expert {x} at layer-step {now} returned "
                f"{score}, below {highest}",
            )
        self.scores[x] = score
        return score
