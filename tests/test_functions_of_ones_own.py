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
from prefetch_sim.sim.predictors.oracle import miss_probabilities
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


@pytest.mark.parametrize(
    "read",
    [
        "k, extra, threshold, lead, backlog, load = limits",
        "lead, backlog, load = limits[3:]",
        "backlog = limits[4]",
        "backlog = limits[-2]",
        "backlog = sum(limits)",
        "backlog = Limits(*limits).backlog_ns",
    ],
)
def test_times_are_read_by_no_other_way(config: Path, read: str) -> None:
    text = IN_TIME.replace("    if ids", f"    {read}\n    if ids", 1)
    text = text.replace(" or limits.lead_ns < limits.backlog_ns + limits.load_ns", "")
    mine = Path("mine.py")
    mine.write_text("from prefetch_sim.sim.prefetch.base import Limits\n\n" + text)
    end = run_cli("run", config, "--set", "prefetch.policy=mine.py")
    assert (end.code, end.err.count("\n")) == (2, 1)
    assert "'mine.py': propose reads " in end.err
    assert "TIMED = True is told" in end.err
    assert not ps.check(mine).held
    mine.write_text(mine.read_text().replace(read, "limits = limits._replace(k=limits[:3][0])"))
    assert run_cli("run", config, "--set", "prefetch.policy=mine.py").code == 0


def markov(routed: Any, layer: int) -> Any:
    """Experts of the numbers that the layer before was routed to."""
    return routed[-1, layer - 1]


def test_a_function_may_speak_once_the_layer_before_is_routed(config: Path) -> None:
    after = {"name": markov, "trigger": "routed"}
    done = ps.run(config, predictor=after).results
    (quality,) = done["predictors"].values()
    assert quality["predicted"] > 0
    assert ps.check(markov, params={"trigger": "routed"}).held
    assert ps.check(after).held
    assert "nothing of a trace of three requests (distance: 1, trigger: 'layer_start')" in str(
        ps.check(markov)
    )
    with pytest.raises(ps.ConfigError, match=r"policy: give one, or a mapping with its name"):
        ps.check({"trigger": "routed"})
    with pytest.raises(ps.ConfigError, match=r"distance: is 1 or more with the trigger routed"):
        ps.run(config, predictor={**after, "distance": 0})
    with pytest.raises(ps.ConfigError, match=r"predictor.trigger"):
        ps.run(config, predictor={**after, "trigger": "rooted"})


def test_a_key_that_a_function_has_itself_is_told(config: Path) -> None:
    def mine(routed: Any, layer: int) -> Any:
        """As the layer before."""
        return routed[-1, layer - 1]

    mine.trigger = "routed"  # type: ignore[attr-defined]
    said = r"has 'trigger' of its own, .* beside the name, {\"name\": mine, \"trigger\": ...}"
    for call in (lambda: ps.run(config, predictor=mine), lambda: ps.check(mine)):
        with pytest.raises(ps.ConfigError, match=said):
            call()


def test_a_predictor_that_says_nothing_is_told(config: Path) -> None:
    with pytest.warns(UserWarning, match=r"the predictor '.*markov' said nothing in the whole run"):
        ps.run(config, predictor=markov)
    with pytest.warns(UserWarning, match=r"markov' said nothing at 2 of its 2 points"):
        ps.sweep(config, sweep={"predictor": ["guess", markov], "seed": [0, 1]})
    Path("mine.py").write_text(SILENT)
    sets = "--set", "predictor=mine.py"
    end = run_cli("run", config, *sets, "--json")
    assert end.code == 0
    assert end.err.splitlines()[-1] == (
        "warning: the predictor 'mine.py' said nothing in the whole run"
    )
    end = run_cli("sweep", config, *sets, "--set", "sweep.seed=[0]", "--out", "out", "--jobs", 1)
    assert "warning: the predictor 'mine.py' said nothing at its only point\n" in end.err
    assert "said nothing" not in run_cli("run", config).err
    said = "In B the predictor 'mine.py' said nothing in the whole run"
    end = run_cli("compare", config, "--b", "predictor=mine.py")
    assert f"{said}." in " ".join(end.out.split())
    assert "In A" not in end.out
    given = ["--set", "sweep={predictor: [guess, mine.py], seed: [0, 1]}", "--out", "two"]
    assert run_cli("sweep", config, *given, "--jobs", 1).code == 0
    end = run_cli("compare", "--sweep", "two", "--a", "predictor=guess", "--b", "predictor=mine.py")
    assert f"{said} at 2 of 2 places." in " ".join(end.out.split())


SILENT = '''
"""Nothing."""

from prefetch_sim.sim.predictors.base import Online, PredictorParams


class Params(PredictorParams):
    pass


class Predictor(Online):
    def __init__(self, params, context):
        super().__init__(context)

    def predict(self, step, target):
        return None

    def observe(self, step, layer):
        pass
'''


def test_prefetch_by_its_policy_alone(config: Path, tmp_path: Path) -> None:
    like = proposed(config, "deadline-aware")
    for given in ("deadline-aware", deadline_aware.propose):
        assert ps.run(config, prefetch=given, engine="simpy").results["prefetch"] == like
    with_more = {"prefetch": "deadline-aware", "prefetch.extra": 1}
    assert ps.run(config, with_more).config.prefetch.extra == 1
    swept = ps.sweep(config, sweep={"prefetch": ["top-k", deadline_aware.propose]})
    assert swept.frame["error"].isna().all()
    (tmp_path / "mine.py").write_text(IN_TIME + "\nTIMED = True\n")
    (tmp_path / "below").mkdir()
    far = write_config(tmp_path / "below/far.yaml", trace="../small.parquet", prefetch="../mine.py")
    assert run_cli("run", far).code == 0
    end = run_cli("compare", config, "--a", "prefetch=deadline-aware", "--b", "prefetch.extra=1")
    assert end.code == 0, end.err


def test_a_predictor_s_key_without_its_name(config: Path) -> None:
    with pytest.raises(ps.ConfigError, match=r"predictor.*: no name is given, which 'decay' goes"):
        ps.run(config, {"predictor": {"decay": 0.9}})
    with pytest.raises(ps.ConfigError, match=r"which 'recall' and 'distance' go with"):
        ps.run(config, {"predictor": {"recall": 0.9, "distance": 1}})
    end = run_cli("run", config, "--set", "predictor=null", "--set", "predictor.decay=0.9")
    assert "no name is given, which 'decay' goes with" in end.err


class LfuDa:
    """Last in, first out."""

    def inserted(self, x: int, now: int) -> int:
        return -now

    def used(self, x: int, now: int, score: int) -> int:
        return score


def test_errors_in_python_name_arguments(config: Path) -> None:
    swept = ps.sweep(config, sweep={"cache.eviction": ["lru", LfuDa], "seed": [0, 1]})
    (one, two) = ps.compare(swept, a={"eviction": "lru"}, b={"eviction": "LfuDa"})
    assert [one.at, two.at] == [{"seed": "0"}, {"seed": "1"}]
    for call, said in (
        (lambda: ps.compare(swept, a={"seed": 0}, b={"eviction": "LfuD"}), "b cache.eviction=Lf"),
        (lambda: ps.compare(swept, a={"seed": 0}, b={"nothing": 1}), "b nothing: no axis"),
        (lambda: ps.plot(swept, x="seed", size="column"), "size 'column' is none; known: pap"),
        (lambda: ps.plot(swept, x="sed"), "x 'sed': "),
        (lambda: ps.plot(swept, x="seed", labels={"nope": "x"}), "labels 'nope': nothing in the"),
        (lambda: ps.plot(swept, x="seed", out="a.gif"), "out a.gif: 'gif' is no format of figures"),
    ):
        with pytest.raises(ps.ConfigError) as caught:
            call()
        assert str(caught.value).startswith(said)
        assert "--" not in str(caught.value)


def test_the_page_says_an_oracle_s_scores() -> None:
    right = [1 - p for p in miss_probabilities(0.6, 8)]
    page = (Path(__file__).parents[1] / "docs/config.md").read_text(encoding="utf-8")
    assert f"(of top-8 at 0.6: {right[0]:.3f} for the best, {right[-1]:.3f} for the" in page
