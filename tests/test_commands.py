"""The command's manners: help, warnings, and files that it will not write over."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
from cli_support import call, command, environment, here, small_trace, write_config

from prefetch_sim.traces.format import write_trace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_trace(tmp_path / "small.parquet")
    write_config(tmp_path / "run.yaml", trace="small.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "default"),
    [
        (["sweep"], "one a CPU"),
        (["plot"], "DIR/figures"),
        (["trace", "import"], "recognised from the content"),
    ],
)
def test_help_tells_the_defaults(words: list[str], default: str, tmp_path: Path) -> None:
    shown = call(*words, "--help", cwd=tmp_path, COLUMNS="160").stdout
    assert f"[default: ({default})]" in shown


def test_version(tmp_path: Path) -> None:
    shown = call("--version", cwd=tmp_path)
    assert shown.returncode == 0
    assert shown.stdout.startswith("prefetch-sim 0.")


def test_one_is_not_plural(folder: Path) -> None:
    shown = here("run", "run.yaml", "--set", "requests=0:1", cwd=folder).stdout
    assert "(1 request, 9 steps)" in shown
    write_config(folder / "s.yaml", trace="small.parquet", sweep={"seed": [1]})
    told = here("sweep", "s.yaml", "--out", "out", cwd=folder).stderr
    assert told.splitlines()[-1].startswith("1 point in out")


def test_only_lru_is_said_to_keep_nothing(folder: Path) -> None:
    small = ("run", "run.yaml", "--json", "--set", "cache.capacity={experts: 7}")
    assert "LRU keeps none of it" in here(*small, cwd=folder).stderr
    told = here(*small, "--set", "cache.eviction=belady", cwd=folder).stderr
    assert "below one lap" in told
    assert "LRU" not in told


def test_a_sweep_warns_of_caches_below_one_lap(folder: Path) -> None:
    axes = {"cache.capacity": [{"experts": 7}, {"experts": 8}]}
    write_config(folder / "s.yaml", trace="small.parquet", sweep=axes)
    told = here("sweep", "s.yaml", "--out", "out", cwd=folder).stderr
    assert "warning: the cache of 1 of 2 points is below one lap" in told


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("run.yaml", "run.yaml is what is read; name another file"),
        ("small.parquet", "small.parquet is what is read; name another file"),
        ("none/t.json", "none is no folder"),
        (".", ". is a folder; name a file"),
    ],
)
def test_a_timeline_that_may_not_go_there(folder: Path, target: str, problem: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    refused = here("run", "run.yaml", "--timeline", target, cwd=folder)
    assert (refused.returncode, refused.stderr) == (2, f"error: --timeline: {problem}\n")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("x.csv", "x.csv is what is read; name another file"),
        ("none/t.parquet", "none is no folder"),
        (".", ". is a folder; name a file"),
    ],
)
def test_an_import_that_may_not_go_there(tmp_path: Path, target: str, problem: str) -> None:
    (tmp_path / "x.csv").write_text("something")
    refused = here("trace", "import", "x.csv", "-o", target, cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (2, f"error: --out: {problem}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_a_terminal_sees_that_a_run_is_going_on(folder: Path) -> None:
    here, there = pty.openpty()
    subprocess.run(
        command("run", "run.yaml", "--json"), cwd=folder, env=environment(TERM="xterm"),
        stdout=subprocess.DEVNULL, stderr=there, check=True,
    )  # fmt: skip
    os.close(there)
    assert "simulating 36 tokens" in os.read(here, 10_000).decode()
    os.close(here)
    assert call("run", "run.yaml", cwd=folder).stderr == ""


def test_a_recorded_predictor_with_a_built_in_one_s_name_is_told(folder: Path) -> None:
    trace = small_trace(folder / "named.parquet")
    trace.predictions["oracle"] = trace.predictions["guess"]
    trace.meta = trace.meta.model_copy(
        update={"predictions": {name: said.info for name, said in trace.predictions.items()}}
    )
    write_trace(folder / "named.parquet", trace)
    says = "predictor oracle: takes what the trace records by that name, not the built-in oracle"
    for name, told in (("oracle", True), ("guess", False), ("previous-token", False)):
        write_config(folder / "c.yaml", trace="named.parquet", predictor=name)
        assert (says in here("run", "c.yaml", cwd=folder).stderr) is told


def test_costs_of_recorded_predictors_at_another_width_are_told(folder: Path) -> None:
    """Of the user's own recording; a cost that is given, or none, is as it is."""
    trace = small_trace(folder / "costly.parquet")
    info = trace.predictions["guess"].info.model_copy(update={"flops": 1e6})
    trace.meta = trace.meta.model_copy(update={"predictions": {"guess": info}})
    write_trace(folder / "costly.parquet", trace)
    run_of = {"model": {"hidden": 512}, "predictor": "guess"}
    write_config(folder / "c.yaml", trace="costly.parquet", **run_of)
    says = (
        "predictor guess: its cost was recorded at hidden size 256 and is taken 2 times, for "
        "tiny's 512"
    )
    assert says in here("run", "c.yaml", cwd=folder).stderr
    pair = ("--a", "predictor=none", "--b", "predictor=guess")
    assert f"B: {says}" in here("compare", "c.yaml", *pair, cwd=folder).stderr
    for same in ("model.hidden=256", "predictor={name: guess, cost_us: 1}", "trace=small.parquet"):
        assert "its cost was" not in here("run", "c.yaml", "--set", same, cwd=folder).stderr
