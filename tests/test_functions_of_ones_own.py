"""Functions and files of one's own: what they are told, and what a run says of what they get."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cli_support import run_cli, small_trace, write_config

import prefetch_sim as ps
from prefetch_sim.sim.prefetch import deadline_aware, top_k

TIMES = "lead_ns", "backlog_ns", "load_ns"
IN_TIME = '''
"""The first candidate, where there is time for it."""


def propose(ids, scores, tokens, limits, resident, seen, stamp, out, priority):
    if ids[0] < 0 or limits.lead_ns < limits.backlog_ns + limits.load_ns:
        return 0
    seen[ids[0]] = stamp
    out[0], priority[0] = ids[0], 0
    return 1
'''


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_trace(tmp_path / "small.parquet")
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path / "run.yaml", trace="small.parquet", predictor="guess")


def in_time(
    ids: Sequence[int],
    scores: Sequence[float],
    tokens: int,
    limits: Any,
    resident: Sequence[bool],
    seen: list[int],
    stamp: int,
    out: list[int],
    priority: list[int],
) -> int:
    """What deadline-aware proposes."""
    return deadline_aware.propose(ids, scores, tokens, limits, resident, seen, stamp, out, priority)


def proposed(config: Path, policy: Any) -> Any:
    return ps.run(config, {"prefetch.policy": policy}, engine="simpy").results["prefetch"]


def test_a_function_is_told_times_if_it_or_its_module_says_so(config: Path) -> None:
    def own(*told: Any, first: bool = True) -> int:
        return in_time(*told)

    like = proposed(config, "deadline-aware")
    assert like != proposed(config, "top-k")
    with pytest.raises(ps.ConfigError, match=r"own': propose reads backlog_ns, .* TIMED"):
        proposed(config, own)
    own.TIMED = True  # type: ignore[attr-defined]
    assert proposed(config, own) == like
    assert proposed(config, partial(own, first=False)) == like
    assert proposed(config, deadline_aware.propose) == like
    assert proposed(config, top_k.propose) == proposed(config, "top-k")
    home = ModuleType("a_notebook")
    home.propose, home.other = in_time_in(home), in_time_in(home)  # type: ignore[attr-defined]
    home.TIMED = True  # type: ignore[attr-defined]
    sys.modules["a_notebook"] = home
    assert proposed(config, home.propose) == like
    with pytest.raises(ps.ConfigError, match="TIMED"):
        proposed(config, home.other)


def in_time_in(home: ModuleType) -> Any:
    def propose(*told: Any) -> int:
        return in_time(*told)

    propose.__module__ = home.__name__
    return propose


@pytest.mark.parametrize("read", TIMES)
def test_a_file_that_reads_times_is_to_ask_for_them(config: Path, read: str) -> None:
    others = [time for time in TIMES if time != read]
    text = IN_TIME
    for time in others:
        text = text.replace(f"limits.{time}", "0")
    Path("mine.py").write_text(text)
    end = run_cli("run", config, "--set", "prefetch.policy=mine.py")
    assert end.code == 2
    assert f"'mine.py': propose reads {read}, which only a module" in end.err
    assert end.err.count("\n") == 1
    Path("mine.py").write_text(f"{text}\nTIMED = True\n")
    assert run_cli("run", config, "--set", "prefetch.policy=mine.py").code == 0
