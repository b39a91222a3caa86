"""Damages on purpose, a few of each kind; and the page that says what is mended has its tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cli_support import ROOT, environment

TESTS = Path(__file__).parent


def test_some_damages_of_each_kind() -> None:
    """``make damages`` does hundreds; disks only where they can be mounted, the store by itself."""
    counts = ("kernels=1", "arrays=2", "disks=1")
    done = subprocess.run(
        [sys.executable, "damages.py", "1", *counts],
        cwd=TESTS, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:]}
    assert kinds["kernels"] == ["1", "1", "0", "0", "1"]
    assert kinds["arrays"] == ["2", "2", "0", "0", "2"]
    assert "disks" in kinds


def test_every_test_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    rows = [row for row in page.splitlines() if row.startswith("| ") and "---" not in row]
    rows = [row for row in rows if not row.startswith("| reported")]
    assert len(rows) >= 17
    there = set()
    for file in TESTS.glob("test_*.py"):
        there |= set(re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.M))
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= there, set(named) - there
