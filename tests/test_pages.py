"""The pages for each kind of user: every command that they show is run, in its order.

A block of YAML or Python is the file that the text names last before it, or the next config that a
command names.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import ROOT, run_cli

_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """(language, text of the block, what the page says before it)."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    before = 0
    for found in _BLOCK.finditer(text):
        yield found[1], found[2], text[before : found.start()]
        before = found.end()


def commands(block: str) -> Iterator[list[str]]:
    for line in block.replace("\\\n", " ").splitlines():
        name, *arguments = shlex.split(line, comments=True) or [""]
        if name == "prefetch-sim":
            yield arguments


def named_before(said: str) -> str | None:
    """The file that the text in front of a block names last."""
    found = re.findall(r"`([\w-]+\.(?:yaml|py|jsonl))`", said)
    return found[-1] if found else None


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def follow(page: str, here: Path, replaced: dict[str, str] | None = None) -> list[list[str]]:
    """Do what the page says; the commands that were run. Asserts that each ends well."""
    ran = []
    for language, block, said in blocks(page):
        if language in ("yaml", "python"):
            name = named_before(said)
            assert name, f"{page}: which file is this?\n{block}"
            (here / name).write_text(block, encoding="utf-8")
        for arguments in commands(block) if language == "sh" else ():
            given = [(replaced or {}).get(argument, argument) for argument in arguments]
            ended = run_cli(*given)
            assert ended.code == 0, f"{page}: {shlex.join(arguments)}\n{ended.err}{ended.out}"
            assert ended.out or ended.err, arguments
            ran.append(given)
    return ran


@pytest.mark.parametrize(
    ("page", "least"), [("engineers", 6), ("researchers", 4), ("questions", 6)]
)
def test_every_command_of_the_page_runs(page: str, least: int, here: Path) -> None:
    assert len(follow(page, here)) >= least


def test_the_page_of_recording_leads_from_a_model_to_an_answer(here: Path) -> None:
    pytest.importorskip("torch", reason="recording needs torch")
    pytest.importorskip("transformers", reason="recording needs transformers")
    from families import build

    build("Qwen3Moe").save_pretrained(here / "model")
    for name, first in (("prompts", 1), ("texts", 40)):
        tokens = [[(first + 7 * i + j) % 60 for j in range(12)] for i in range(24)]
        lines = [json.dumps({"tokens": t, "document": f"{name} {i}"}) for i, t in enumerate(tokens)]
        (here / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert len(follow("recording", here, {"MODEL": "model"})) >= 8
