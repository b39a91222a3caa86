"""Compiled kernels on disk: damaged ones are compiled anew, and without a disk there are none."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_support import call, environment, small_trace, write_config
from numba import njit

from prefetch_sim.sim.jit.kept import KernelCache


def doubled(x: int) -> int:
    return 2 * x


def compiled(folder: Path) -> tuple[int, bool]:
    """What the function gives, and whether it came from ``folder``, as in a new process."""
    made = njit(doubled)
    made._cache = KernelCache(doubled, folder)
    return made(21), bool(made.stats.cache_hits)


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def of_another(content: bytes) -> bytes:
    body = pickle.dumps(("another function", pickle.loads(content[32:])[1]))
    return hashlib.sha256(body).digest() + body


def of_no_kernel(content: bytes) -> bytes:
    key, _ = pickle.loads(content[32:])
    body = pickle.dumps((key, (1, 2, 3)))
    return hashlib.sha256(body).digest() + body


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:1000],
    "cut at the end": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "longer": lambda content: content + b"\0",
    "another's": of_another,
    "whole, and no kernel": of_no_kernel,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_kernel_is_compiled_anew(tmp_path: Path, damage: str) -> None:
    assert compiled(tmp_path) == (42, False)
    assert compiled(tmp_path) == (42, True)
    path = only(tmp_path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert compiled(tmp_path) == (42, False)
    assert compiled(tmp_path) == (42, True)


def test_no_changed_byte_is_run(tmp_path: Path) -> None:
    compiled(tmp_path)
    path, draw = only(tmp_path), random.Random(1)
    for _ in range(20):
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        assert compiled(tmp_path) == (42, False)


def test_what_lies_in_the_way_is_gone_round(tmp_path: Path) -> None:
    compiled(tmp_path)
    path = only(tmp_path)
    path.unlink()
    path.mkdir()
    assert compiled(tmp_path) == (42, False)
    path.rmdir()
    os.mkfifo(path)
    assert compiled(tmp_path) == (42, False)


@pytest.mark.parametrize("what", ["a file", "full", "forbidden"])
def test_without_a_folder_a_kernel_is_of_its_process(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    if what == "a file":
        folder.write_text("in the way")
    else:
        number = 28 if what == "full" else 13

        def fail(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("tempfile.mkstemp", fail)
    assert compiled(folder) == (42, False)
    assert compiled(folder) == (42, False)


NOBODY = """
import os, pwd, sys
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
os.environ.pop("HOME", None), os.environ.pop("XDG_CACHE_HOME", None)
from prefetch_sim.experiments.cli import main
main(sys.argv[1:])
"""


def test_a_run_goes_on_without_a_cache(tmp_path: Path) -> None:
    small_trace(tmp_path / "small.parquet")
    config = write_config(
        tmp_path / "run.yaml", trace="small.parquet", predictor="transition", engine="simpy"
    )
    usual = call("run", config, "--json", cwd=tmp_path)
    assert usual.returncode == 0, usual.stderr
    before = sorted(tmp_path.iterdir())
    nobody = subprocess.run(
        [sys.executable, "-c", NOBODY, "run", str(config), "--json"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    elsewhere: list[dict[str, str]] = [
        {"XDG_CACHE_HOME": "/proc/nowhere"},
        {"XDG_CACHE_HOME": "", "HOME": ""},
        {"XDG_CACHE_HOME": "relative", "HOME": ""},
    ]
    for done in (nobody, *(call("run", config, "--json", cwd=tmp_path, **e) for e in elsewhere)):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == usual.stdout
    assert sorted(tmp_path.iterdir()) == before
