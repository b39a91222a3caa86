"""The notebook and the page on Python: every block runs, in order, in one namespace."""

from __future__ import annotations

import ast
import json
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest
from cli_support import run_cli

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "experiments/notebooks/first-hour.ipynb"
PAGE = ROOT / "docs/python.md"


def run_blocks(blocks: list[str], name: str) -> tuple[dict[str, Any], list[Any]]:
    """The namespace that is left, and the value of each block's last expression."""
    space: dict[str, Any] = {"__name__": name}
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, block in enumerate(blocks):
            tree = ast.parse(block)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            file = f"{name}, block {number}"
            exec(compile(tree, file, "exec"), space)
            if isinstance(last, ast.Expr):
                shown.append(eval(compile(ast.Expression(last.value), file, "eval"), space))
    return space, shown


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(NOTEBOOK.parent)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in code)
    assert len({cell["id"] for cell in cells}) == len(cells)
    space, shown = run_blocks(["".join(cell["source"]) for cell in code], "notebook")
    figure, run, _, compared, heat = shown
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert len(figure.panels) == 6  # evictions × kernels
    assert "<table>" in run._repr_html_()
    assert compared.paired.enough
    assert compared.paired.difference == pytest.approx(
        space["trained"].tpot_ms - space["without"].tpot_ms, abs=1e-3
    )
    assert len(heat.panels) == 3  # a cache size each
    assert len(space["swept"]) == 84


def test_the_notebooks_commands_draw_a_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join("".join(c["source"]) for c in json.loads(NOTEBOOK.read_text())["cells"])
    block = text.partition("```sh\n")[2].partition("```")[0]
    sweep, plot = (shlex.split(line)[1:] for line in block.splitlines())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    axes = "sweep.cache.capacity=[60%]", "sweep.hardware.host_link.gb_s=[6, 25]"
    sets = "requests=0:1", "tokens=32:40", "engine=simpy", *axes
    small = [word for text in sets for word in ("--set", text)]
    assert run_cli(*sweep, *small, "--jobs", 1).code == 0
    assert run_cli(*plot).code == 0
    assert Path("heat.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    space, _ = run_blocks(blocks, "__main__")
    assert len(space["frame"]) == 4
    assert len(space["stalls"]) == 26
    assert space["own"].results["engine"] == "simpy"
    assert len(blocks[0].strip().splitlines()) <= 11  # ten lines beside the import
