"""docs/timing.md read a third time, literally: it and both engines agree on random systems.

Two engines that share a wrong reading agree. So faults are planted in both at once, those that they
once had in common, and it is the third reading that has to meet them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants import USE, Mutant
from planted import ERRORS, planted
from readings import drawn, expected, in_common, read_small

SYSTEMS = 3000


def test_three_readings_agree_on_random_systems() -> None:
    for i in range(SYSTEMS):
        for engine in ("simpy", "compiled"):
            assert read_small(engine, drawn(i)) == expected(i), (engine, drawn(i))


LET_GO = """@part
def let_go(t: Tier, victims: int) -> None:
    for i in range(victims):
        y = t.victims[i].expert
        t.resident[y] = 0
        t.partitions[0].free += t.size[y]
        t.partitions[0].used -= t.size[y]


@part
def take("""
STARTS = "(staging is None or staging.can_hold(x)) and cache.reserve(x)"
EVICTS = "[staging.reserve(x), staging.free.__setitem__(0, staging.free[0] + staging.sizes[x])]"
CANCELS = """        if self._cancel_stale and self._several:
            loader.cancel(layer, set(ids), now)
"""
COMPILED_CANCELS = "    if s.cancels and s.predictor_count > 1:\n        r.at.named += 1"

# What both engines do wrong at once.
FAULTS = {
    "a set streams if it has more bytes than its partition leaves, static ones too": [
        Mutant(
            "engine/tier.py",
            "return size * sum([x not in self.static for x in experts]) <= room",
            "return False",
        ),
        Mutant("compiled/memory.py", "others += t.resident[routed[i]] != STATIC", "others += 1"),
    ],
    "the eviction hears of static experts that are computed": [
        Mutant("engine/tier.py", "        if self.static:  #", "        if False:  #"),
        Mutant("compiled/memory.py", USE.format("STATIC"), USE.format("3")),
    ],
    "what finds no room in the cache evicts from host memory: a prefetch": [
        Mutant(
            "engine/loader.py",
            STARTS,
            f"(staging is None or staging.can_hold(x) and (firm or {EVICTS})) and cache.reserve(x)",
        ),
        Mutant("compiled/memory.py", "@part\ndef take(", LET_GO),
        Mutant(
            "compiled/moving.py",
            "memory.give_up(path.host, victims)",
            "(memory.give_up if needed else memory.let_go)(path.host, victims)",
        ),
    ],
    "what finds no room in the cache evicts from host memory: a demand": [
        Mutant(
            "engine/loader.py",
            STARTS,
            "(staging is None or staging.can_hold(x) and "
            f"(not firm or {EVICTS})) and cache.reserve(x)",
        ),
        Mutant("compiled/memory.py", "@part\ndef take(", LET_GO),
        Mutant(
            "compiled/moving.py",
            "                memory.give_up(path.host, victims)\n",
            "                (memory.let_go if needed else memory.give_up)(path.host, victims)\n"
            "                if needed:\n"
            "                    _wait_at_storage(path, loader, victims)\n",
        ),
    ],
    "a later prediction cancels what is not proposed": [
        Mutant("engine/decisions.py", CANCELS, ""),
        Mutant(
            "engine/decisions.py",
            "        proposed = self._out[:count]\n",
            "        proposed = self._out[:count]\n" + CANCELS.replace("set(ids)", "set(proposed)"),
        ),
        Mutant("compiled/prediction.py", "    if s.cancels and", "    if False and s.cancels and"),
        Mutant(
            "compiled/prediction.py",
            "    loads.propose(",
            COMPILED_CANCELS
            + "\n        for i in range(count):\n"
            + "            loader.loads[r.out[i]].named = r.at.named\n"
            + "        loads.cancel(s, cache, path, loader, r, target, now)\n"
            + "    loads.propose(",
        ),
    ],
    "a queued prefetch holds its expert in host memory against a demand": [
        Mutant(
            "engine/loader.py",
            "self._through_host - self._only_queued if firm else self._through_host",
            "self._through_host",
        ),
        Mutant("compiled/moving.py", "FIRM if needed else QUEUED_TOO", "QUEUED_TOO"),
    ],
    "the last of a set to land computes beside loads, too": [
        Mutant("engine/missing.py", "free, beside or more > 0)", "free, True)"),
        Mutant("compiled/kernel.py", "beside if i + 1 == arrived else slows(s)", "slows(s)"),
    ],
    "shared experts that wait for a group are computed beside the loads, too": [
        Mutant(
            "engine/missing.py",
            "work = 0 if self._shared_waits else costs[1].shared_ns",
            "work = costs[1].shared_ns",
        ),
        Mutant(
            "compiled/kernel.py",
            "work = 0 if s.shared_waits else cost.shared_ns",
            "work = cost.shared_ns",
        ),
    ],
    "what waits slows nothing down": [
        Mutant(
            "engine/missing.py", "bool(self._loader.in_flight)", "self._loader.moving > 0"
        ),
        Mutant("engine/forward_pass.py", "works[bool(in_flight)]", "works[loader.moving > 0]"),
        Mutant(
            "compiled/computing.py",
            "slows(s) and r.at.outstanding > 0",
            "slows(s) and r.at.moving > 0",
        ),
    ],
    "a layer is beside loads as the last decision had it": [
        Mutant(
            "engine/forward_pass.py",
            "                    yield device.until(now)\n                    cost = beside",
            "                    cost = beside",
        ),
        Mutant(
            "compiled/kernel.py",
            "if slows(s) and r.at.phase != STARTING and",
            "if slows(s) and r.at.layer == s.layers and r.at.phase != STARTING and",
        ),
    ],
    "loads slow down the layers between in what a deadline expects": [
        Mutant("engine/forward_pass.py", "(cost, self._alone", "(cost, self._works[1]"),
        Mutant("compiled/prediction.py", "s.alone.expert_ns", "(s.beside or s.alone).expert_ns"),
    ],
    "the CPU shares memory with what moved before the set was demanded, and not with that": [
        Mutant("engine/plan.py", "loader.moving > 0 or loader.waiting > 0", "loader.moving > 0"),
        Mutant("compiled/cpu.py", "r.at.moving > 0 or r.at.waiting > 0", "r.at.moving > 0"),
    ],
    "a load behind goes before prefetches": [
        Mutant("engine/loader.py", "BEHIND, BEHIND_KEY + target", "BEHIND, PREFETCH_KEY"),
        Mutant("compiled/cpu.py", "BEHIND, BEHIND_KEY + index", "BEHIND, 1 << 60"),
    ],
    "a group of a set that streams waits for whatever moves": [
        Mutant(
            "engine/missing.py",
            "loader.moves(self._routed)",
            "any(load.started >= 0 for load in loader.in_flight.values())",
        ),
        Mutant(
            "compiled/moving.py",
            "for i in range(first, end):\n        load = loader.loads[routed[i]]\n        moving",
            "for i in range(len(loader.loads)):\n        load = loader.loads[i]\n        moving",
        ),
    ],
    "a set that streams makes room once all of it that is there has been computed": [
        Mutant(
            "engine/missing.py",
            "(end := next(ends, -1)) >= 0",
            "(end := max(ends, default=-1)) >= 0",
        ),
        Mutant(
            "compiled/kernel.py",
            "    i = r.at.unpinned\n    while r.at.wake < 0",
            "    i = max(r.at.unpinned, r.at.computed - 1)\n    while r.at.wake < 0",
        ),
    ],
    "a load that starts at the landing that ends a layer finds the set pinned": [
        Mutant(
            "engine/loader.py",
            "self.computed or 0 <= self.unpin_at <= now",
            "self.computed or 0 <= self.unpin_at < now",
        ),
        Mutant("compiled/moving.py", "0 <= r.at.unpin_at <= now", "0 <= r.at.unpin_at < now"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_both_engines_is_met(fault: str, engine: str, tmp_path: Path) -> None:
    """Each engine differs from the third reading within the systems on which all agree."""
    with planted(FAULTS[fault], tmp_path) as reading:
        read = reading(engine)

        def differs(i: int) -> bool:
            try:
                return in_common(read(drawn(i), "")) != expected(i)
            except ERRORS:
                return True

        assert any(map(differs, range(SYSTEMS)))
