"""What machines and people do to a run: each is right, or refused in a line that names the file."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cli_support import here, small_trace, write_config

from prefetch_sim.experiments.sweeps.store import Outcome, Store
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.traces.files import replacing
from prefetch_sim.traces.format import read_trace
from prefetch_sim.traces.trace import TraceError

POLICY = """
from prefetch_sim.sim.eviction.lru import *

def used(state, x, now, score):
    {body}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_trace(tmp_path / "small.parquet")
    write_config(tmp_path / "run.yaml", trace="small.parquet")
    write_config(tmp_path / "s.yaml", trace="small.parquet", sweep={"seed": [1, 2]})
    return tmp_path


def one_line(error: str, *parts: str) -> None:
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) <= 400
    for part in parts:
        assert part in error, error


# The store


def filled(folder: Path) -> Path:
    with Store(folder) as store:
        for i in range(40):
            store.put(f"key {i}", "{}", Outcome({"x": [i] * 50}, None, 1.0))
    return folder / "results.sqlite"


@pytest.mark.parametrize("at", [0, 24, 100, 4096, 8192])
def test_a_damaged_store_is_refused_until_it_is_removed(tmp_path: Path, at: int) -> None:
    path = filled(tmp_path)
    with Store(tmp_path) as store:
        right = store.get(f"key {i}" for i in range(40))
    assert len(right) == 40
    content = bytearray(path.read_bytes())
    content[at : at + 8192] = bytes([170]) * len(content[at : at + 8192])
    path.write_bytes(content)

    def use() -> dict[str, Outcome]:
        with Store(tmp_path) as store:
            return store.get(f"key {i}" for i in range(40))

    with pytest.raises(ConfigError) as told:
        use()
    said = str(told.value)
    assert said.startswith(f"{path}: not a database of results, or a damaged one (")
    assert said.endswith("); remove it to begin anew")
    assert "\n" not in said
    for left in tmp_path.glob("results.sqlite*"):
        left.unlink()
    assert use() == {}
    filled(tmp_path)
    assert use() == right


def test_no_changed_byte_passes_as_a_result(tmp_path: Path) -> None:
    path, draw = filled(tmp_path), random.Random(2)
    whole = path.read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        told, found = str(path), {}
        try:
            with Store(tmp_path) as store:
                found = store.get(f"key {i}" for i in range(40))
        except ConfigError as error:
            told = str(error)
        assert told.startswith(str(path))
        for key, outcome in found.items():
            assert outcome == Outcome({"x": [int(key[4:])] * 50}, None, 1.0)
        for left in tmp_path.glob("results.sqlite-*"):
            left.unlink()


def test_a_full_disk_is_told_by_name(tmp_path: Path) -> None:
    filled(tmp_path)
    with Store(tmp_path) as store:
        store._db.execute("PRAGMA max_page_count = 1")
        large = Outcome({"x": "y" * 500_000}, None, 1.0)
        with pytest.raises(ConfigError, match=r"results\.sqlite: cannot be written \(database or"):
            store.put("more", "{}", large)
    with Store(tmp_path) as store:
        assert len(store.finished()) >= 40


def test_a_store_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "results.sqlite") as old:
        old.execute(
            "CREATE TABLE runs (key TEXT PRIMARY KEY, config TEXT NOT NULL, result TEXT, "
            "error TEXT, seconds REAL NOT NULL, finished TEXT NOT NULL)"
        )
        old.execute("INSERT INTO runs VALUES ('a', '{}', '{}', NULL, 1.0, '')")
    with Store(tmp_path) as store:
        assert store.finished() == set()
        store.put("a", "{}", Outcome({}, None, 1.0))
        assert store.finished() == {"a"}


def test_another_table_of_that_name_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "results.sqlite") as other:
        other.execute("CREATE TABLE runs (id INTEGER)")
    with pytest.raises(ConfigError, match=r"results\.sqlite: not a database of results"):
        Store(tmp_path)


# Files that are written


@pytest.mark.parametrize("what", ["fifo", "device"])
def test_nothing_replaces_what_is_no_regular_file(folder: Path, what: str) -> None:
    target = folder / "there"
    if what == "device":
        target.symlink_to("/dev/null")
    else:
        os.mkfifo(target)
    for arguments in (
        ("run", "run.yaml", "--timeline", "there"),
        ("trace", "export", "small.parquet", "-o", "there"),
        ("hardware", "new", "mine", "--gpu-memory-gib", 24, "--gpu-gb-s", 800, "--link-gb-s", 25,
         "--host-memory-gib", 64, "--drive-gb-s", 3, "--out", "there", "--force"),
        ("sweep", "s.yaml", "--out", "there", "--jobs", 1),
    ):  # fmt: skip
        refused = here(*arguments, cwd=folder)
        assert refused.returncode == 2, arguments
        one_line(refused.stderr, "there")
    assert target.is_symlink() or target.is_fifo()


def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    with replacing(tmp_path / "link") as whole:
        whole.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def fail(path: Path, error: OSError) -> None:
    with replacing(path) as whole:
        whole.write_text("half")
        raise error


def test_an_error_without_a_file_gets_one(tmp_path: Path) -> None:
    for error in (OSError(28, "No space left on device"), OSError("no space, says another")):
        with pytest.raises(OSError, match=r"space.*x\.parquet") as told:
            fail(tmp_path / "x.parquet", error)
        assert told.value.filename == str(tmp_path / "x.parquet")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_names_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r", **how: Any) -> Any:
        there = Path("/dev/full") if mode == "w" and path.name.endswith(".tmp") else path
        return opened(there, mode, **how)

    monkeypatch.setattr(Path, "open", full)
    refused = here("run", "run.yaml", "--timeline", "t.json", cwd=folder)
    assert refused.returncode == 2
    one_line(refused.stderr, "t.json: No space left on device")
    assert not (folder / "t.json").exists()


# Traces


def test_no_changed_byte_passes_as_other_routing(folder: Path) -> None:
    path, draw = folder / "small.parquet", random.Random(3)
    whole, right = path.read_bytes(), read_trace(path)
    for _ in range(150):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        told = ""
        try:
            found = read_trace(path)
        except TraceError as error:
            told = str(error)
        if told:
            assert told.startswith(str(path))
            assert "\n" not in told
        else:
            assert (found.experts == right.experts).all()


# Code in configs


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import sys; sys.exit()", "SystemExit: "),
    ],
)
def test_a_policys_own_mistake_is_three_lines(
    folder: Path, body: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"own_{abs(hash(body))}"
    policy = folder / f"{name}_" / "policy.py"
    policy.parent.mkdir()
    policy.write_text(POLICY.format(body=body))
    monkeypatch.syspath_prepend(folder)
    eviction = f"--set=cache.eviction={name}_.policy"
    done = here("run", "run.yaml", eviction, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: the policy '{name}_.policy' failed: {said}".strip(),
        f"  {policy}, line 5, in used",
        f"    {body}",
    ]


def test_what_a_policy_is_for_is_looked_up_before_it_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "not_yet").mkdir()
    (folder / "not_yet" / "policy.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.syspath_prepend(folder)
    for name in ("not_yet.policy", "not_yet.nothing", "not_yet.", "not_yet.policy;x", "a.import"):
        refused = here("run", "run.yaml", f"--set=cache.eviction={name}", cwd=folder)
        assert refused.returncode == 2
        one_line(refused.stderr, "cache.eviction", name)
    assert not (folder / "ran").exists()
