"""The pass of a replay follows docs/timing.md: on virtual time it agrees with the simulation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from agreement import reported
from readings import each, in_common
from test_properties import Small

pytest.importorskip("torch", reason="a replay needs torch")

from virtual_device import replayed

from prefetch_sim.sim.replay.forward_pass import ReplayPass

# Durations with no common measure, so that hardly two things happen at one instant: there, a
# device that sees one after the other has an order of its own.
_UNIT = {
    "attention": 10_007,
    "norm": 3_011,
    "gate": 1_009,
    "shared": 4_001,
    "expert": 7_019,
    "launch": 503,
    "epilogue": 2_003,
    "prologue": 1_511,
    "fixed": 907,
    "predictor": 2_503,
}


def apart(small: Small) -> Small:
    """``small`` without what a replay does not do, and with times that differ."""
    cost = {name: small.cost.get(name, 0) * 17 + unit for name, unit in _UNIT.items()}
    link = small.link | {"contended": None, "gb_s": small.link.get("gb_s", 1.0) * 0.0731}
    config = {**small.config, "misses": {"policy": "load"}, "engine": "simpy"}
    return replace(small, cost=cost, link=link, config=config, cpu=None)


def test_a_replay_on_virtual_time_is_the_simulation() -> None:
    seen = 0

    def agree(small: Small) -> None:
        nonlocal seen
        if small.cpu is not None and min(small.room) < small.k:
            return  # only with experts on the CPU does so little room do
        here = apart(small)
        found = replayed(here.inputs(), here.durations())
        assert in_common(reported(found)) == in_common(reported(here.run())), here
        seen += 1

    each(500, 5, agree)
    assert seen > 450


def _never_unpinned(self: Any, here: Any, now: int) -> None:
    _ENDED(self, here, now)
    self._loader.unpin_at = -1


def _lands_unseen(self: Any, here: Any, now: int) -> None:
    if self._loader.waiting % 2 == 0:
        _LANDED(self, here, now)


_ENDED, _LANDED = ReplayPass._ended, ReplayPass._landed


@pytest.mark.parametrize(
    ("method", "fault"), [("_ended", _never_unpinned), ("_landed", _lands_unseen)]
)
def test_a_planted_fault_is_met(monkeypatch: Any, method: str, fault: Any) -> None:
    monkeypatch.setattr(ReplayPass, method, fault)
    with pytest.raises((AssertionError, IndexError)):
        test_a_replay_on_virtual_time_is_the_simulation()
