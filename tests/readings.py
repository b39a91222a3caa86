"""What each reading of docs/timing.md reports of a system: the literal model and both engines."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import literal
from agreement import HOW, arrays_of, count, differences, on, reported, tell, uncompiled, views
from harness import FixedCost
from hypothesis import HealthCheck, Phase, given, seed, settings
from strained import strained
from test_properties import Small, smalls

from prefetch_sim.sim.engine.load import DISPOSITIONS
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup.inputs import Inputs

READINGS = ("literal", "simpy", "compiled")
_BATCH, _LONG_BATCH = 100, 1000  # systems drawn at once
_COMMON = ("steps", "layers", "loads", "proposed", "dispositions", "moved_bytes")


def in_common(said: dict[str, Any]) -> dict[str, Any]:
    """Of what an engine reports, that of which the rules speak."""
    common = {name: said[name] for name in _COMMON}
    return common | {"loads": sorted(common["loads"])}  # what ends at one instant has no order


def literally(inputs: Inputs, cost: FixedCost) -> dict[str, Any]:
    """What the literal model reports, as the engines do."""
    told = literal.read(inputs, cost)
    unified = inputs.profile.host_link is None
    stages = ["storage"] * (unified or inputs.host_bytes is not None)
    stages += ["host link"] * (not unified)
    ends = [*DISPOSITIONS, "demanded", "arrived"]
    loads = sorted([*row[:4], ends.index(str(row[4])), *row[5:]] for row in told.loads)
    return {
        "steps": list(map(list, told.steps)),
        "layers": list(map(list, told.layers)),
        "loads": loads,
        "proposed": told.proposed,
        "dispositions": [
            [told.counts[prefill, end] for end in DISPOSITIONS] for prefill in (False, True)
        ],
        "moved_bytes": [[told.moved[stage, origin] for origin in range(3)] for stage in stages],
    }


def read(by: str, inputs: Inputs, cost: FixedCost) -> dict[str, Any]:
    """``by``: one of READINGS; the compiled engine is run by Python."""
    if by == "literal":
        return literally(inputs, cost)
    inputs = replace(inputs, config=inputs.config.model_copy(update={"engine": by}))
    with uncompiled(views):
        return in_common(reported(simulate(inputs, cost=cost)))  # type: ignore[arg-type]


def read_small(by: str, small: Small) -> dict[str, Any]:
    if by == "literal":
        return literally(small.inputs(), small.durations())
    with uncompiled(arrays_of(small)):
        return in_common(reported(on(small, by)))


def each(systems: int, first: int, use: Callable[[Small], None]) -> None:
    """``use`` so many random systems, of a sequence that ``first`` picks."""

    @seed(first)
    @settings(
        max_examples=systems,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(smalls() | strained())
    def draw(small: Small) -> None:
        use(small)

    draw()


@cache
def _batch(number: int) -> list[Small]:
    found: list[Small] = []
    each(_BATCH, number, found.append)
    return found


def drawn(i: int) -> Small:
    """System ``i`` of the one sequence on which the readings are compared."""
    return _batch(i // _BATCH)[i % _BATCH]


@cache
def expected(i: int) -> dict[str, Any]:
    """What the literal model reports of system ``i``."""
    return read_small("literal", drawn(i))


def main() -> None:
    """``python tests/readings.py 100000``: on that many systems, the kernel compiled."""
    began, counts = time.time(), Counter[str]()
    choices = random.Random(0)

    def agree(small: Small) -> None:
        how = choices.choice(HOW)
        one, other = on(small, "simpy", how), on(small, "compiled", how)
        assert differences(one, other) == [], (small, how)
        if how != "no records":
            assert in_common(reported(one)) == read_small("literal", small), small
        count(counts, one)

    wanted = int(sys.argv[1])
    for number, first in enumerate(range(0, wanted, _LONG_BATCH)):
        each(min(_LONG_BATCH, wanted - first), number, agree)
    assert counts["runs"] == wanted, "no systems, or fewer than asked for"
    tell("random systems, three readings", counts, began)


if __name__ == "__main__":
    main()
