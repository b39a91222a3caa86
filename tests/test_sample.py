"""The committed sample is what its card says."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import traces
from traces.format import DECODE, PREFILL, Trace, read_trace

FILE = Path(traces.__file__).parent / "samples" / "mini-gpt-oss.parquet"
PREDICTORS = {"pre-attention": 0, "cross-layer": 1, "next-gate": 1}  # name: distance
PHASES = {"all": (PREFILL, DECODE), "prefill": (PREFILL,), "decode": (DECODE,)}


@cache
def sample() -> Trace:
    return read_trace(FILE)  # validates


@cache
def card() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.with_suffix(".json").read_text())
    return content


def test_topology_is_that_of_gpt_oss_20b() -> None:
    assert sample().model.topology == (24, 32, 4)
    assert sample().model.name == card()["name"] == "mini-gpt-oss"


def test_size() -> None:
    trace = sample()
    decode = int((trace.phase == DECODE).sum())
    assert decode == card()["trace"]["decode_tokens"] >= 20_000
    assert trace.tokens == card()["trace"]["tokens"]
    assert len(trace.requests) == card()["trace"]["requests"]
    assert FILE.stat().st_size <= 30_000_000


def test_every_request_is_prompt_then_generation() -> None:
    trace, sampling = sample(), card()["sampling"]
    for _request, start, end in trace.requests:
        assert end - start == sampling["prompt"] + sampling["new_tokens"]
        assert trace.position[start] == 0
        assert (trace.phase[start:end] == PREFILL).sum() == sampling["prompt"]


def test_weights_are_a_softmax_over_the_selected() -> None:
    weights = sample().weights
    assert weights is not None
    values = weights.astype(np.float32)
    assert np.abs(values.sum(axis=2) - 1).max() < 0.02  # 8 significant bits
    assert (np.diff(values, axis=2) <= 0).all()


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictor_is_described_and_silent_where_it_cannot_speak(name: str) -> None:
    prediction, distance = sample().predictions[name], PREDICTORS[name]
    assert prediction.info.distance == distance
    assert (prediction.experts[:, :distance] == -1).all()
    assert (prediction.experts[:, distance:] >= 0).all()
    scores = prediction.scores.astype(np.float32)
    assert scores.min() >= 0
    assert scores.max() <= 1


@pytest.mark.parametrize("name", PREDICTORS)
def test_scores_of_the_card_follow_from_the_trace(name: str) -> None:
    """Through sets of bits, not through the card's own code."""
    trace, top_k = sample(), 4
    routed = np.bitwise_or.reduce(np.int64(1) << trace.experts.astype(np.int64), axis=2)
    prediction = trace.predictions[name].experts.astype(np.int64)
    for width in (top_k, prediction.shape[2]):
        bits = np.int64(1) << np.maximum(prediction[:, :, :width], 0)
        missed = np.bitwise_count(routed & ~np.bitwise_or.reduce(bits, axis=2)).astype(int)
        for phase, kept in PHASES.items():
            rows = missed[np.isin(trace.phase, kept)]
            stated = card()["predictors"][name][phase][f"named_{width}"]
            for metric, values in (
                ("slot_recall", 1 - rows.mean(axis=0) / top_k),
                ("exact_set", (rows == 0).mean(axis=0)),
            ):
                by_layer = stated[metric]["by_layer"]
                silent = PREDICTORS[name]
                assert by_layer[:silent] == [None] * silent
                assert by_layer[silent:] == pytest.approx(values[silent:].tolist(), abs=1e-4)
                mean = values[1:].mean()
                assert stated[metric]["mean_without_layer_0"] == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("name", ["pre-attention", "cross-layer"])
def test_trained_scores_are_probabilities(name: str) -> None:
    """Their mean over what was named is near the share of it that was routed."""
    trace = sample()
    prediction = trace.predictions[name]
    first = PREDICTORS[name] + 1
    named, scores = prediction.experts[:, first:], prediction.scores[:, first:]
    hit = (named[..., None] == trace.experts[:, first:, None, :]).any(axis=-1)
    assert float(scores.astype(np.float32).mean()) == pytest.approx(float(hit.mean()), abs=0.05)


def test_training_lowered_the_held_out_loss() -> None:
    log = card()["training"]["log"]
    assert log[-1]["step"] == card()["training"]["steps"]
    assert log[-1]["held_out"]["all"] < 0.7 * log[0]["held_out"]["all"]


def test_splits_are_disjoint_by_document() -> None:
    """Every split has documents of every domain, and their counts are all there are."""
    data = card()["data"]
    assert set(data) == {"train", "validation", "predict", "prompt"}
    for domains in data.values():
        assert all(counts["documents"] > 0 for counts in domains.values())


def test_card_says_what_the_model_is_not() -> None:
    text = FILE.with_suffix(".md").read_text()
    assert "It is not gpt-oss-20b" in text
    assert text.count("\n| ") > sample().model.moe_layers
