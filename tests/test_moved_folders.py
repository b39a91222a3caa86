"""A sweep goes on in its folder, wherever that was moved."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cli_support import here, small_trace

from prefetch_sim.experiments.sweeps.same import check_same
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.paths import seen_from

TREE = {"trace": "sub/small.parquet", "sweep": {"seed": [1, 2], "cache.capacity": ["50%", "30%"]}}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a trace below it."""
    (work := tmp_path / "work").mkdir()
    (work / "sub").mkdir()
    small_trace(work / "sub" / "small.parquet", requests=1)
    monkeypatch.chdir(work)
    return work


def begun(folder: Path) -> None:
    folder.mkdir()
    (folder / "sweep.yaml").write_text(yaml.safe_dump(seen_from(folder, TREE)))


@pytest.mark.parametrize("target", ["../moved", "deep/down/moved", "moved"])
def test_a_moved_folder_holds_the_same_sweep(work: Path, target: str) -> None:
    begun(Path("out"))
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    moved = Path("out").rename(target)
    check_same(moved, seen_from(moved, TREE))


def test_points_that_are_gone_are_seen_in_a_moved_folder(work: Path) -> None:
    begun(Path("out"))
    moved = Path("out").rename("../moved")
    fewer = TREE | {"sweep": {"seed": [1], "cache.capacity": ["50%", "30%"]}}
    with pytest.raises(ConfigError, match=r"2 of whose 4 points .*\(seed 2 there, 1 here\)"):
        check_same(moved, seen_from(moved, fewer))


def test_what_has_another_name_is_asked_about(work: Path) -> None:
    begun(Path("out"))
    moved = Path("out").rename("../moved")
    (work / "sub" / "small.parquet").rename(work / "sub" / "other.parquet")
    other = TREE | {"trace": "sub/other.parquet"}
    with pytest.raises(ConfigError, match=r"was it moved\? there is no .*/small\.parquet; give"):
        check_same(moved, seen_from(moved, other))


def test_two_of_one_name_are_not_mistaken_for_each_other(work: Path) -> None:
    """``a/t.parquet`` that is lost is not ``b/t.parquet`` where ``a`` still has one."""
    both = TREE | {"trace": "a/t.parquet", "sweep": {"trace": ["a/t.parquet", "b/t.parquet"]}}
    for name in "ab":
        (work / name).mkdir()
        small_trace(work / name / "t.parquet", requests=1)
    Path("out").mkdir()
    Path("out/sweep.yaml").write_text(yaml.safe_dump(seen_from(Path("out"), both)))
    moved = Path("out").rename("../moved")
    with pytest.raises(ConfigError, match="was it moved"):
        check_same(moved, seen_from(moved, both))


def test_the_command_goes_on_and_runs_nothing_again(work: Path) -> None:
    keys = TREE | {"hardware": "a100-pcie-40gb", "sweep": {"seed": [1, 2]}}
    Path("sweep.yaml").write_text(yaml.safe_dump(keys))
    first = here("sweep", "sweep.yaml", "--out", "out", "--jobs", 1, cwd=work)
    assert first.returncode == 0, first.stderr
    stored = Path("out/results.sqlite").read_bytes()
    Path("out").rename("../moved")
    again = here("sweep", "sweep.yaml", "--out", "../moved", "--jobs", 1, cwd=work)
    assert again.returncode == 0, again.stderr
    assert Path("../moved/results.sqlite").read_bytes() == stored
    assert "../work/sub/small.parquet" in Path("../moved/sweep.yaml").read_text()
