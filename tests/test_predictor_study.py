"""docs/predictors.md says what the results say, and these what the bundled traces say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefetch_sim.experiments.predictor_study.__main__ import RESULTS
from prefetch_sim.experiments.predictor_study.render import ORDER, render
from prefetch_sim.traces.format import read_trace
from prefetch_sim.traces.samples import sample_path
from prefetch_sim.traces.trace import DECODE

ROOT = Path(__file__).parents[1]
FILES = sorted(RESULTS.glob("*.json"))
FROM = 3  # the layers that every predictor of the study speaks of
TOLERANCE = 0.01  # between the first requests of a recording and all of them


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_page_is_rendered_from_the_results() -> None:
    assert (ROOT / "docs/predictors.md").read_text() == render([load(path) for path in FILES])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_predictor_is_on_the_page(path: Path) -> None:
    assert set(load(path)["predictors"]) <= set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_untrained_gate_is_scored_nearly_as_the_bundled_trace_has_it(path: Path) -> None:
    """By a plain comparison, slot by slot; the bundled trace is the first of what was measured."""
    trace = read_trace(sample_path(path.stem))
    named = trace.predictions["next-gate"].experts
    k = trace.model.top_k
    rows = trace.phase == DECODE
    routed, guess = trace.experts[rows, FROM:], named[rows, FROM:]
    right = (routed[..., None] == guess[:, :, None, :k]).any(axis=3)
    found = load(path)["predictors"]["next-gate"]["common"]
    assert found["slots"][0] == pytest.approx(right.mean(), abs=TOLERANCE)
    assert found["exact"][0] == pytest.approx(right.all(axis=2).mean(), abs=TOLERANCE)
    assert found["slots"][1] <= found["slots"][0] <= found["slots"][2]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_whole_recording_was_measured(path: Path) -> None:
    sampling = load(sample_path(path.stem).with_suffix(".json"))["sampling"]
    found = load(path)
    assert found["requests"] == sampling["requests"] > sampling["kept"]
    assert found["decode_tokens"] == sampling["requests"] * sampling["new_tokens"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_control_reads_100_percent(path: Path) -> None:
    found = load(path)["predictors"].get("own-gate")
    if found is None:
        pytest.skip("this trace was recorded before there was a control")
    assert found["common"]["slots"][0] == found["common"]["exact"][0] == 1.0
    assert all(layer == [1.0, 1.0, 1.0] for layer in found["by_layer"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scores_are_ordered_as_they_must_be(path: Path) -> None:
    """More loaded finds more, and an exact set needs every slot."""
    for name, found in load(path)["predictors"].items():
        for group in ("common", "prefill", "first third", "last third"):
            scores = found[group]
            if scores["slots"] is None:
                continue
            slots, exact = scores["slots"][0], scores["exact"][0]
            assert exact <= slots <= scores["slots_loaded"][0], (name, group)
            assert exact <= scores["exact_loaded"][0] <= scores["slots_loaded"][0], (name, group)
            assert np.isfinite(scores["top_1"][0])
