"""The contract of a prefetch policy: a choice among the candidates, each at most once."""

from __future__ import annotations

import random
from types import ModuleType
from typing import NamedTuple

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.prefetch.base import Limits

EXPERTS = 12


class Case(NamedTuple):
    """One call of ``propose``; ids are those of a layer that starts at ``first``."""

    first: int
    ids: list[int]
    scores: list[float]
    tokens: int
    k: int
    extra: int = 0
    threshold: float = 0.0
    resident: frozenset[int] = frozenset()
    lead_ns: int = 10**9
    backlog_ns: int = 0
    load_ns: int = 1


def propose(module: ModuleType, case: Case, seen: list[int], stamp: int) -> list[tuple[int, int]]:
    """(expert, priority) of each proposal; what lies behind the count is left alone."""
    total = case.first + EXPERTS
    out, priority = [-7] * total, [-7] * total
    count = module.propose(
        case.ids,
        case.scores,
        case.tokens,
        Limits(case.k, case.extra, case.threshold, case.lead_ns, case.backlog_ns, case.load_ns),
        [x in case.resident for x in range(total)],
        seen,
        stamp,
        out,
        priority,
    )
    assert 0 <= count <= EXPERTS
    assert out[count:] == [-7] * (total - count)
    return list(zip(out[:count], priority[:count]))


def chosen(module: ModuleType, case: Case) -> list[tuple[int, int]]:
    return propose(module, case, [0] * (case.first + EXPERTS), 1)


def random_case(rng: random.Random) -> Case:
    tokens, k = rng.randint(1, 4), rng.randint(1, 4)
    width = rng.randint(1, EXPERTS)
    first = rng.choice([0, 5])
    ids: list[int] = []
    scores: list[float] = []
    for _ in range(tokens):
        named = rng.sample(range(first, first + EXPERTS), width)
        silent = rng.choice([0, 0, 1, width])  # the last places may be empty
        ids += named[: width - silent] + [-1] * silent
        scores += sorted((rng.random() for _ in range(width)), reverse=True)
    return Case(
        first,
        ids,
        scores,
        tokens,
        k,
        rng.randint(0, 3),
        rng.choice([0.0, 0.5, 1.0]),
        frozenset(rng.sample(range(first, first + EXPERTS), 4)),
        rng.choice([0, 5, 100]),
        rng.choice([0, 7]),
        rng.choice([1, 3]),
    )


class PrefetchContract:
    """``policy`` is a built-in name or an import path."""

    policy: str

    @property
    def module(self) -> ModuleType:
        return registry.find("prefetch", self.policy)

    def test_proposes_some_of_the_candidates_each_once(self) -> None:
        rng = random.Random(1)
        proposals = 0
        for _ in range(300):
            case = random_case(rng)
            named = [x for x, _ in chosen(self.module, case)]
            assert set(named) <= set(case.ids) - {-1}
            assert len(set(named)) == len(named)
            proposals += len(named)
        assert proposals

    def test_priorities_are_whole_numbers_that_do_not_fall(self) -> None:
        rng = random.Random(2)
        for _ in range(100):
            priorities = [p for _, p in chosen(self.module, random_case(rng))]
            assert all(type(p) is int and p >= 0 for p in priorities)
            assert priorities == sorted(priorities)

    def test_earlier_calls_leave_nothing_behind(self) -> None:
        rng = random.Random(3)
        seen = [0] * (5 + EXPERTS)
        for stamp in range(1, 100):
            case = random_case(rng)
            assert propose(self.module, case, seen, stamp) == chosen(self.module, case)

    def test_nothing_to_go_by_means_no_proposal(self) -> None:
        assert chosen(self.module, Case(0, [-1] * 6, [0.0] * 6, 2, 2)) == []

    def test_the_inputs_are_left_alone(self) -> None:
        case = random_case(random.Random(4))
        ids, scores = list(case.ids), list(case.scores)
        chosen(self.module, case)
        assert (ids, scores) == (case.ids, case.scores)

    def test_says_what_it_does(self) -> None:
        assert registry.summary("prefetch", self.policy).endswith(".")
