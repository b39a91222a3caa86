"""The contract of a miss policy: 0 or 1 for each missing expert, and nothing else."""

from __future__ import annotations

import random
from types import ModuleType
from typing import NamedTuple

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.misses.base import ABSENT, MOVES, WAITS, Layer


class Case(NamedTuple):
    """One call of ``plan``."""

    cpu_ns: list[int]
    state: list[int]
    layer: Layer


def choose(module: ModuleType, case: Case) -> list[int]:
    """What is chosen for each; what lies behind the count is left alone."""
    count = len(case.cpu_ns)
    chosen = [-7] * (count + 3)
    module.plan(count, case.cpu_ns, case.state, case.layer, chosen)
    assert chosen[count:] == [-7] * 3
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


class MissContract:
    """``policy`` is a built-in name or an import path."""

    policy: str

    @property
    def module(self) -> ModuleType:
        return registry.find("misses", self.policy)

    def test_says_one_or_nought_of_each(self) -> None:
        rng = random.Random(1)
        for _ in range(300):
            assert set(choose(self.module, random_case(rng))) <= {0, 1}

    def test_earlier_calls_leave_nothing_behind(self) -> None:
        cases = [random_case(random.Random(i)) for i in range(50)]
        first = [choose(self.module, case) for case in cases]
        assert [choose(self.module, case) for case in reversed(cases)] == first[::-1]

    def test_the_inputs_are_left_alone(self) -> None:
        case = random_case(random.Random(4))
        cpu_ns, state = list(case.cpu_ns), list(case.state)
        choose(self.module, case)
        assert (cpu_ns, state) == (case.cpu_ns, case.state)

    def test_says_what_it_does(self) -> None:
        assert registry.summary("misses", self.policy).endswith(".")
