"""The bundled traces are what their cards say."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefetch_sim import traces
from prefetch_sim.traces.format import DECODE, PREFILL, Trace, read_trace

SAMPLES = Path(traces.__file__).parent / "samples"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.parquet"))
TOPOLOGIES = {  # MoE layers, experts, top-k, dense layers, decode tokens at least
    "mini-deepseek-v2-lite": (26, 64, 6, (0,), 2_000),
    "mini-gpt-oss": (24, 32, 4, (), 4_000),
    "mini-phi-mini-moe": (32, 16, 2, (), 4_000),
    "mini-qwen3-30b-a3b": (48, 128, 8, (), 1_500),
}
PREDICTORS = {"pre-attention": 0, "cross-layer": 1, "next-gate": 1}  # name: distance
PHASES = {"all": (PREFILL, DECODE), "prefill": (PREFILL,), "decode": (DECODE,)}


each = pytest.mark.parametrize("sample", NAMES, indirect=True)


@cache
def read(name: str) -> tuple[Trace, dict[str, Any]]:
    card: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return read_trace(SAMPLES / f"{name}.parquet"), card  # validates


@pytest.fixture
def sample(request: pytest.FixtureRequest) -> tuple[Trace, dict[str, Any]]:
    """A bundled trace and its card."""
    return read(request.param)


Sample = tuple[Trace, dict[str, Any]]


def test_there_are_the_four_of_the_papers_topologies() -> None:
    assert set(NAMES) == set(TOPOLOGIES)


@each
def test_topology(sample: Sample) -> None:
    trace, card = sample
    *topology, dense, _ = TOPOLOGIES[trace.model.name]
    assert list(trace.model.topology) == topology
    assert trace.model.dense_layers == dense
    assert trace.model.name == card["name"]


@each
def test_size(sample: Sample) -> None:
    trace, card = sample
    decode = int((trace.phase == DECODE).sum())
    assert decode == card["trace"]["decode_tokens"] >= TOPOLOGIES[trace.model.name][-1]
    assert trace.tokens == card["trace"]["tokens"]
    assert len(trace.requests) == card["trace"]["requests"]


def test_all_of_them_fit_a_checkout() -> None:
    assert sum((SAMPLES / f"{name}.parquet").stat().st_size for name in NAMES) < 20_000_000


@each
def test_trace_and_card_say_how_many_requests_there_were(sample: Sample) -> None:
    """The first of those recorded, each domain as often as the others."""
    trace, card = sample
    kept, recorded = len(trace.requests), card["sampling"]["requests"]
    assert kept == card["sampling"]["kept"] < recorded
    assert [request for request, _, _ in trace.requests] == list(range(kept))
    assert kept % len(card["data"]["prompt"]) == 0
    assert trace.meta.recorded["requests"] == str(kept)
    assert trace.meta.recorded["kept"] == f"the first {kept} of {recorded} requests"
    text = (SAMPLES / f"{card['name']}.md").read_text()
    assert f"The first {kept} of the {recorded} requests recorded" in text


@each
def test_use_of_the_experts_follows_from_the_trace(sample: Sample) -> None:
    trace, card = sample
    layers, experts, top_k = trace.model.topology
    ids = trace.experts + experts * np.arange(layers)[:, None]
    share = np.bincount(ids.ravel(), minlength=layers * experts) / (trace.tokens * top_k / experts)
    assert card["experts_unused"] == {
        "never": pytest.approx((share == 0).mean(), abs=1e-4),
        "below_a_tenth_of_the_fair_share": pytest.approx((share < 0.1).mean(), abs=1e-4),
        "busiest_over_fair_share": pytest.approx(share.max(), abs=0.01),
    }


@each
def test_every_request_is_prompt_then_generation(sample: Sample) -> None:
    trace, sampling = sample[0], sample[1]["sampling"]
    for _request, start, end in trace.requests:
        assert end - start == sampling["prompt"] + sampling["new_tokens"]
        assert trace.position[start] == 0
        assert (trace.phase[start:end] == PREFILL).sum() == sampling["prompt"]


@each
def test_weights_are_there_the_heaviest_first(sample: Sample) -> None:
    weights = sample[0].weights
    assert weights is not None
    values = weights.astype(np.float32)
    assert (np.diff(values, axis=2) <= 0).all()
    if sample[0].model.name in ("mini-gpt-oss", "mini-qwen3-30b-a3b"):  # a softmax over them
        assert np.abs(values.sum(axis=2) - 1).max() < 0.02  # 8 significant bits


@each
@pytest.mark.parametrize("name", PREDICTORS)
def test_predictor_is_described_and_silent_where_it_cannot_speak(sample: Sample, name: str) -> None:
    prediction, distance = sample[0].predictions[name], PREDICTORS[name]
    assert prediction.info.distance == distance
    assert (prediction.experts[:, :distance] == -1).all()
    assert (prediction.experts[:, distance:] >= 0).all()
    scores = prediction.scores.astype(np.float32)
    assert scores.min() >= 0
    assert scores.max() <= 1


@each
@pytest.mark.parametrize("name", PREDICTORS)
def test_scores_of_the_card_follow_from_the_trace(sample: Sample, name: str) -> None:
    """Slot by slot, not through the card's own code."""
    trace, card = sample
    top_k = trace.model.top_k
    prediction = trace.predictions[name].experts
    missed = np.full(trace.experts.shape, True)
    for width in range(1, prediction.shape[2] + 1):
        missed &= trace.experts != prediction[:, :, width - 1, None]
        if width not in (top_k, prediction.shape[2]):
            continue
        for phase, kept in PHASES.items():
            rows = missed[np.isin(trace.phase, kept)].sum(axis=2)
            stated = card["predictors"][name][phase][f"named_{width}"]
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


@each
@pytest.mark.parametrize("name", ["pre-attention", "cross-layer"])
def test_trained_scores_are_probabilities(sample: Sample, name: str) -> None:
    """Their mean over what was named is near the share of it that was routed."""
    trace = sample[0]
    prediction = trace.predictions[name]
    first = PREDICTORS[name] + 1
    named, scores = prediction.experts[:, first:], prediction.scores[:, first:]
    hit = (named[..., None] == trace.experts[:, first:, None, :]).any(axis=-1)
    assert float(scores.astype(np.float32).mean()) == pytest.approx(float(hit.mean()), abs=0.05)


@each
def test_training_lowered_the_held_out_loss(sample: Sample) -> None:
    training = sample[1]["training"]
    log = training["log"]
    assert log[-1]["step"] == training["steps"]
    assert log[-1]["held_out"]["all"] < 0.75 * log[0]["held_out"]["all"]


@each
def test_splits_are_disjoint_by_document(sample: Sample) -> None:
    """Every split has documents of every domain, and their counts are all there are."""
    data = sample[1]["data"]
    assert set(data) == {"train", "validation", "predict", "prompt"}
    for domains in data.values():
        assert all(counts["documents"] > 0 for counts in domains.values())


@each
def test_card_says_what_the_model_is_not(sample: Sample) -> None:
    trace, card = sample
    text = (SAMPLES / f"{card['name']}.md").read_text()
    assert f"It is not {card.get('like', 'gpt-oss-20b')}" in text
    assert text.count("\n| ") > trace.model.moe_layers
