"""The contract of a prefetch policy: a choice among the candidates, each at most once."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any, NamedTuple

from prefetch_sim.experiments.checking.hooks import rule_of_arguments
from prefetch_sim.experiments.checking.rules import Rule, in_case, need, says_what_it_does
from prefetch_sim.sim.prefetch.base import Limits, Untimed
from prefetch_sim.sim.setup import contracts

EXPERTS = 12
_UNTOUCHED = None  # what stands where nothing is written


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

    def __str__(self) -> str:
        scores = [round(score, 2) for score in self.scores]
        return (
            f"ids {self.ids}, scores {scores}, tokens {self.tokens}, k {self.k}, "
            f"extra {self.extra}, threshold {self.threshold}"
        )


def propose(module: ModuleType, case: Case, seen: list[int], stamp: int) -> list[tuple[int, int]]:
    """(expert, priority) of each proposal; what lies behind the count is left alone."""
    total = case.first + EXPERTS
    limits: Limits = Untimed(case.k, case.extra, case.threshold)
    if getattr(module, "TIMED", False):
        limits = Limits(*limits[:3], case.lead_ns, case.backlog_ns, case.load_ns)
    out: list[Any] = [_UNTOUCHED] * total
    priority: list[Any] = [_UNTOUCHED] * total
    count = module.propose(
        case.ids,
        case.scores,
        case.tokens,
        limits,
        [x in case.resident for x in range(total)],
        seen,
        stamp,
        out,
        priority,
    )
    with in_case(case):
        count = contracts.hold_count(count, min(len(case.ids), len(out), len(priority)))
    need(
        all(x is _UNTOUCHED for x in out[count:]),
        f"it returned {count} and wrote behind that: {out}; {case}",
    )
    with in_case(case):
        return list(
            zip(
                contracts.written("out", out[:count]),
                contracts.written("priority", priority[:count]),
            )
        )


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


def proposes_candidates_once(module: ModuleType) -> None:
    """It proposes some of the candidates, each once."""
    rng = random.Random(1)
    proposals = 0
    for _ in range(300):
        case = random_case(rng)
        named = [x for x, _ in chosen(module, case)]
        with in_case(case):
            contracts.hold_choice(named, case.ids)
        proposals += len(named)
    need(proposals > 0, "in 300 cases it proposed nothing")


def priorities_do_not_fall(module: ModuleType) -> None:
    """Priorities are whole numbers from 0 on, each at least that before it."""
    rng = random.Random(2)
    for _ in range(100):
        case = random_case(rng)
        priorities = [p for _, p in chosen(module, case)]
        with in_case(case):
            contracts.hold_priorities(priorities)


def earlier_calls_leave_nothing_behind(module: ModuleType) -> None:
    """A call says the same whatever was asked before."""
    cases = [random_case(random.Random(i)) for i in range(100)]
    first = [chosen(module, case) for case in cases]
    seen = [0] * (5 + EXPERTS)
    for stamp, case in enumerate(reversed(cases), start=1):
        again = propose(module, case, seen, stamp)
        need(again == first[-stamp], f"first {first[-stamp]}, then {again} after others; {case}")


def nothing_to_go_by(module: ModuleType) -> None:
    """Without candidates it proposes nothing."""
    found = chosen(module, Case(0, [-1] * 6, [0.0] * 6, 2, 2))
    need(not found, f"it proposed {found} where every candidate is -1")


def inputs_are_left_alone(module: ModuleType) -> None:
    """It does not change the candidates or their scores."""
    case = random_case(random.Random(4))
    ids, scores = list(case.ids), list(case.scores)
    chosen(module, case)
    need((ids, scores) == (case.ids, case.scores), f"ids and scores are {case.ids}, {case.scores}")


RULES: tuple[Rule, ...] = (
    rule_of_arguments("prefetch"),
    earlier_calls_leave_nothing_behind,  # first: it has not been asked anything yet
    proposes_candidates_once,
    priorities_do_not_fall,
    nothing_to_go_by,
    inputs_are_left_alone,
    says_what_it_does,
)
