"""What is installed: one name, which nothing in a user's folder can hide."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cli_support import ROOT, small_trace, write_config


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel's files lie, as pip would put them into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*build, folder], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < 25e6
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site-packages")
    return folder / "site-packages"


def files(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_a_wheel_has_one_name_and_every_file(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"prefetch_sim"}
    package = installed / "prefetch_sim"
    folders = "sim", "traces", "hardware_profiles", "experiments"
    assert {path.name for path in package.iterdir()} == {"__init__.py", "py.typed", *folders}
    for name in folders:
        assert files(package / name) == files(ROOT / name)


def test_names_in_the_working_directory_hide_nothing(installed: Path, tmp_path: Path) -> None:
    small_trace(tmp_path / "small.parquet")
    write_config(tmp_path / "run.yaml", trace="small.parquet")
    (tmp_path / "traces").mkdir()
    for name in ("traces/__init__.py", "sim.py", "experiments.py", "hardware_profiles.py"):
        (tmp_path / name).write_text("raise RuntimeError('not mine')\n")
    called = "from prefetch_sim.experiments.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", called, "run", "run.yaml", "--json"],  # looks where it is first
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"total_ms"' in done.stdout
