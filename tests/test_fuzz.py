"""Some bad inputs for each reader, the same ones every time; ``make fuzz`` tries more."""

from __future__ import annotations

import pytest
from fuzz import TARGETS, tried


@pytest.mark.parametrize("target", TARGETS)
def test_a_bad_input_is_one_line_or_a_valid_run(target: str) -> None:
    seen = tried(target, 10 if target == "results" else 30, seed=1)
    assert seen.wrong == []
    assert seen.valid + seen.refused == seen.inputs


def test_the_corpus_itself_is_valid() -> None:
    for target in TARGETS:
        count = 1 if target == "results" else 12  # it has one file, and drawing takes seconds
        seen = tried(target, count, seed=0, change=False)
        assert (seen.wrong, seen.valid) == ([], count), target
