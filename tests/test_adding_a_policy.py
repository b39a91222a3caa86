"""docs/adding-a-policy.md: its files, as they stand there, in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BOTH_ENGINES = """
from agreement import differences, uncompiled, views
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.sim.run import simulate

keys = {"requests": "0:1", "cache": {"eviction": "most-recent"}}
with uncompiled(views):
    runs = [simulate(load(RunConfig(engine=name, **keys))) for name in ("simpy", "compiled")]
    assert differences(*runs) == []
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for package in ("sim", "tests"):
        shutil.copytree(ROOT / package, folder / package)
    for package in ("traces", "hardware_profiles", "experiments"):
        (folder / package).symlink_to(ROOT / package)
    shutil.copytree(ROOT / "src", folder / "src", symlinks=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    text = (ROOT / "docs/adding-a-policy.md").read_text(encoding="utf-8")
    files = re.findall(r"^`([\w/]+\.py)`:\n\n```python\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["sim/eviction/most_recent.py", "tests/test_eviction.py"]
    assert sum(body.count("\n") for _, body in files) < 40
    for name, body in files:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write("\n\n" * (name.startswith("tests/")) + body)
    return folder


def python(folder: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(folder / "src"), str(folder / "tests")])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_eviction_keeps_its_contract(copy: Path) -> None:
    chosen = "MostRecent or every_eviction"
    python(copy, "-m", "pytest", "-q", "-p", "no:xdist", "tests/test_eviction.py", "-k", chosen)


def test_the_eviction_runs_alike_on_both_engines(copy: Path) -> None:
    python(copy, "-c", BOTH_ENGINES)
