"""Progress in logs: lines are counted on a clock of the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest

from prefetch_sim.experiments import output
from prefetch_sim.experiments.heartbeat import EVERY, Heartbeat, beating
from prefetch_sim.experiments.sweeps import progress as sweeps
from prefetch_sim.experiments.sweeps.progress import Log


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(seconds: int) -> list[str]:
    """What is said of work that takes so long, with a look every half a second."""
    clock = Clock()
    said: list[str] = []
    heart = Heartbeat(lambda running: f"{running:g}", said.append, clock)
    for _ in range(2 * seconds):
        clock.now += 0.5
        heart.beat()
    return said


def test_short_work_says_nothing() -> None:
    assert lines_of(4) == []


def test_long_work_has_a_line_every_few_seconds_and_hours_one_a_minute() -> None:
    assert lines_of(21) == ["5", "10", "15", "20"]
    hours = [float(line) for line in lines_of(3 * 3600)]
    gaps = [b - a for a, b in pairwise(hours)]
    assert min(gaps) == EVERY
    assert max(gaps) == 60
    assert sum(gap == 60 for gap in gaps) > 100


def test_it_beats_beside_what_blocks() -> None:
    """Until the work ends, and not a time more."""
    import threading

    enough, said = threading.Event(), 0

    class Counting(Heartbeat):
        def beat(self) -> None:
            nonlocal said
            said += 1
            if said == 2:
                enough.set()

    with beating(Counting(str, print)):
        assert enough.wait(60)
    after = said
    enough.wait(0.1)
    assert said == after
    assert threading.active_count() >= 1


def test_lines_of_a_sweep_tell_how_many_how_fast_and_how_long() -> None:
    clock = Clock()
    log = Log("points", 116, 56, lambda: ", compiling the engine, once: some 20 s", clock)
    assert log.line(5.2) == "points: 56 of 116 after 5 s, compiling the engine, once: some 20 s"
    clock.now += 20
    log.step()
    assert log.line(20) == "points: 57 of 116, 0.05/s, 0:19:40 left"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said where every look has a line."""
    lines: list[str] = []
    for module in (output, sweeps):
        monkeypatch.setattr(module, "say", lines.append)

    class Now(Heartbeat):
        def beat(self) -> None:
            lines.append(self._told(7.0))

    class AtOnce:
        """Beats at the beginning and at the end, in no thread."""

        def __init__(self, heart: Heartbeat) -> None:
            self.heart = heart

        def __enter__(self) -> None:
            self.heart.beat()

        def __exit__(self, *_: object) -> None:
            self.heart.beat()

    for module in (output, sweeps):
        monkeypatch.setattr(module, "Heartbeat", Now)
        monkeypatch.setattr(module, "beating", AtOnce)
    return lines


def test_each_kind_of_progress_has_its_lines_in_a_log(said: list[str]) -> None:
    with output.working("simulating 36 tokens") as tell:
        tell("simulating more")
    with output.progress("capturing", "request") as advance:
        advance(1, 3)
    with sweeps.progress("points", 8, 6, lambda: ", wait") as step:
        step()
        step()
    assert said[:4] == [
        "simulating 36 tokens (7 s)",
        "simulating more (7 s)",
        "capturing (7 s)",
        "capturing: 1 of 3 requests (7 s)",
    ]
    assert said[4] == "points: 6 of 8 after 7 s, wait"
    assert said[5].startswith("points: 8 of 8, ")
    assert said[5].endswith("/s, 0:00:00 left")
