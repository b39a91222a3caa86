"""Some bad inputs for each reader, the same ones every time; ``make fuzz`` tries more."""

from __future__ import annotations

import pytest
from fuzz import CORPUS, TARGETS, sources, tried
from recordings import WRITERS


@pytest.mark.parametrize("target", TARGETS)
def test_a_bad_input_is_one_line_or_a_valid_run(target: str) -> None:
    seen = tried(target, 10 if target == "results" else 30, seed=1)
    assert seen.wrong == []
    assert seen.valid + seen.refused == seen.inputs


def test_the_corpus_itself_is_valid() -> None:
    for target in TARGETS:
        count = len(sources(target))
        seen = tried(target, count, seed=0, change=False)
        assert (seen.wrong, seen.valid) == ([], count), target


def test_the_corpus_has_a_recording_of_every_importer() -> None:
    named = {path.relative_to(CORPUS / "importers").parts[0] for path in sources("importers")}
    assert {name.split(".")[0] for name in named} >= {n.replace("-npz", "") for n in WRITERS}
