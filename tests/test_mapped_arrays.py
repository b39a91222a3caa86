"""Arrays in files that processes share: always the right content, whatever became of the file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cli_support import BASE, small_trace

from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.run import run_inputs
from prefetch_sim.sim.setup import inputs
from prefetch_sim.sim.workload import mapped_arrays

ARRAY = np.arange(24, dtype=np.float16).reshape(2, 3, 4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files come, of arrays of any size."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(mapped_arrays, "LEAST", 0)
    return tmp_path / "prefetch-sim" / "arrays"


def equal(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.dtype == expected.dtype and np.array_equal(found, expected)


def mapped(array: np.ndarray) -> bool:
    return isinstance(array.base, np.memmap)


def test_equal_arrays_are_one_file_that_nobody_writes_to(folder: Path) -> None:
    first, second = mapped_arrays.mapped(ARRAY), mapped_arrays.mapped(ARRAY.copy())
    assert mapped(first)
    assert mapped(second)
    assert len(list(folder.iterdir())) == 1
    first[0, 0, 0] = 7
    assert equal(second, ARRAY)
    assert equal(mapped_arrays.mapped(ARRAY), ARRAY)
    # The same bytes of another type or shape are another array.
    for other in (ARRAY.view(np.int16), ARRAY.reshape(4, 6), ARRAY[:, :2]):
        assert equal(mapped_arrays.mapped(other), other)
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("damage", [b"", b"no array", None])
def test_a_damaged_file_is_never_used(folder: Path, damage: bytes | None) -> None:
    mapped_arrays.mapped(ARRAY)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\1" if damage is None else damage)
    found = mapped_arrays.mapped(ARRAY)
    assert equal(found, ARRAY)
    assert not mapped(found)
    assert mapped(mapped_arrays.mapped(ARRAY))
    assert path.read_bytes() == whole


def test_without_a_folder_the_array_stays(folder: Path) -> None:
    folder.parent.write_text("in the way")
    assert mapped_arrays.mapped(ARRAY) is ARRAY


def test_a_write_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    assert mapped_arrays.mapped(ARRAY) is ARRAY
    assert list(folder.iterdir()) == []


def test_files_long_unused_go(folder: Path) -> None:
    mapped_arrays.mapped(ARRAY)
    (old,) = folder.iterdir()
    os.utime(old, (0, 0))
    mapped_arrays.mapped(ARRAY + 1)
    assert not old.exists()
    assert len(list(folder.iterdir())) == 1


def test_a_run_on_shared_arrays_gives_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_trace(tmp_path / "small.parquet")
    keys = {"trace": str(tmp_path / "small.parquet"), "predictor": "guess", "engine": "simpy"}
    config = RunConfig.model_validate(BASE | keys)
    found = inputs.load(config)
    assert mapped(found.workload.flat)
    with monkeypatch.context() as patch:
        patch.setattr(mapped_arrays, "LEAST", 1 << 40)
        os.utime(tmp_path / "small.parquet")
        alone = inputs.load(config)
    assert not mapped(alone.workload.flat)
    assert run_inputs(found) == run_inputs(alone)
