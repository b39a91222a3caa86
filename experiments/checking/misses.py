"""The contract of a miss policy: 0 or 1 for each missing expert, and nothing else."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any, NamedTuple

from prefetch_sim.experiments.checking.hooks import rule_of_arguments
from prefetch_sim.experiments.checking.rules import Rule, in_case, need, says_what_it_does
from prefetch_sim.sim.misses.base import ABSENT, MOVES, WAITS, Layer
from prefetch_sim.sim.setup import contracts

_UNTOUCHED = None  # what stands where nothing is written


class Case(NamedTuple):
    """One call of ``plan``."""

    cpu_ns: list[int]
    state: list[int]
    layer: Layer

    def __str__(self) -> str:
        return f"cpu_ns {self.cpu_ns}, state {self.state}, {self.layer}"


def choose(module: ModuleType, case: Case) -> list[Any]:
    """What is chosen for each; what lies behind the count is left alone."""
    count = len(case.cpu_ns)
    chosen: list[Any] = [_UNTOUCHED] * (count + 3)
    module.plan(count, case.cpu_ns, case.state, case.layer, chosen)
    need(
        all(one is _UNTOUCHED for one in chosen[count:]),
        f"it wrote behind the {count} missing experts: {chosen}; {case}",
    )
    return chosen[:count]


def random_case(rng: random.Random) -> Case:
    count = rng.randint(1, 12)
    return Case(
        [rng.randint(0, 300) for _ in range(count)],
        [rng.choice([ABSENT, ABSENT, WAITS, MOVES]) for _ in range(count)],
        Layer(
            tokens=rng.choice([1, 8, 64]),
            up_to=31,
            load_ns=rng.randint(1, 200),
            link_ns=rng.choice([0, 50, 400]),
            cpu_ns=rng.choice([0, 30, 300]),
        ),
    )


def says_one_or_nought(module: ModuleType) -> None:
    """It writes 0 or 1 for each missing expert."""
    rng = random.Random(1)
    for _ in range(300):
        case = random_case(rng)
        chosen = choose(module, case)
        with in_case(case):
            contracts.hold_plan(chosen, len(case.cpu_ns))


def earlier_calls_leave_nothing_behind(module: ModuleType) -> None:
    """A call says the same whatever was asked before."""
    cases = [random_case(random.Random(i)) for i in range(50)]
    first = [choose(module, case) for case in cases]
    again = [choose(module, case) for case in reversed(cases)][::-1]
    for case, one, other in zip(cases, first, again):
        need(one == other, f"first {one}, then {other}; {case}")


def inputs_are_left_alone(module: ModuleType) -> None:
    """It does not change what it is told."""
    case = random_case(random.Random(4))
    cpu_ns, state = list(case.cpu_ns), list(case.state)
    choose(module, case)
    need((cpu_ns, state) == (case.cpu_ns, case.state), f"they are now {case}")


RULES: tuple[Rule, ...] = (
    rule_of_arguments("misses"),
    earlier_calls_leave_nothing_behind,  # first: it has not been asked anything yet
    says_one_or_nought,
    inputs_are_left_alone,
    says_what_it_does,
)
