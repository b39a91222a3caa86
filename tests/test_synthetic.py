"""Invented traces do what their arguments say, and the same arguments give the same trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prefetch_sim.traces.format import Trace, TraceError, read_trace, write_trace
from prefetch_sim.traces.info import decode_reuse, expert_use, trace_info
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec
from prefetch_sim.traces.synthetic import synthesise

MODEL = ModelSpec(
    name="tiny",
    layers=5,
    dense_layers=(0,),
    hidden=8,
    experts=32,
    top_k=4,
    expert_hidden=4,
    attention=GroupedQueryAttention(heads=2, kv_heads=1, head_dim=4),
    vocab=100,
)


def make(**change: Any) -> Trace:
    arguments: dict[str, Any] = {
        "requests": 20,
        "prompt": 4,
        "decode": 96,
        "skew": 0.0,
        "reuse": 0.0,
        "seed": 1,
    }
    return synthesise(MODEL, **(arguments | change))


def test_shape_phases_and_origin() -> None:
    trace = make(requests=3, prompt=2, decode=3)
    assert trace.experts.shape == (15, 4, 4)
    assert trace.requests == [(0, 0, 5), (1, 5, 10), (2, 10, 15)]
    assert trace.phase.tolist() == [0, 0, 1, 1, 1] * 3
    assert trace.position.tolist() == [0, 1, 2, 3, 4] * 3
    assert trace.meta.recorded["source"].startswith("synthetic: ")


def test_the_seed_decides() -> None:
    one, same, other = make(), make(), make(seed=2)
    np.testing.assert_array_equal(one.experts, same.experts)
    np.testing.assert_array_equal(one.weights, same.weights)
    assert (one.experts != other.experts).mean() > 0.5


def test_without_skew_experts_are_used_alike() -> None:
    use = expert_use(make())
    expected = 2000 * 4 / 32
    assert use.sum(axis=1).tolist() == [8000] * 4
    # Binomial with mean 250: five standard deviations are under 80.
    assert np.abs(use - expected).max() < 80
    # The next token's set is drawn afresh: k / E of it was there before.
    assert decode_reuse(make()).mean() == pytest.approx(4 / 32, abs=0.02)


def test_skew_concentrates_and_layers_differ() -> None:
    flat, steep = trace_info(make()), trace_info(make(skew=1.5))
    assert steep["gini"]["mean"] > flat["gini"]["mean"] + 0.3
    assert steep["routing_entropy"]["mean"] < flat["routing_entropy"]["mean"] - 0.1
    favourites = expert_use(make(skew=1.5)).argmax(axis=1)
    assert len(set(favourites.tolist())) > 1


def test_one_expert_a_token_follows_zipf() -> None:
    model = MODEL.model_copy(update={"top_k": 1})
    trace = synthesise(model, requests=4000, prompt=0, decode=1, skew=1.0, reuse=0.0, seed=3)
    use = np.sort(expert_use(trace), axis=1)[:, ::-1].mean(axis=0) / 4000
    odds = 1 / np.arange(1, 33)
    np.testing.assert_allclose(use[:8], (odds / odds.sum())[:8], rtol=0.1)


@pytest.mark.parametrize("reuse", [0.25, 0.5, 0.9])
def test_reuse(reuse: float) -> None:
    found = decode_reuse(make(reuse=reuse)).mean()
    # A slot that is not kept may draw one of the dropped experts again: at most k / (E - k).
    assert reuse - 0.02 <= found <= reuse + (1 - reuse) * 4 / 28 + 0.02


def test_full_reuse_repeats_the_set_and_requests_start_afresh() -> None:
    trace = make(reuse=1.0)
    np.testing.assert_array_equal(decode_reuse(trace), np.ones(4))
    sets = np.sort(trace.experts.reshape(20, 100, 4, 4), axis=3)
    assert (sets == sets[:, :1]).all()
    assert len({sets[request, 0].tobytes() for request in range(20)}) == 20


def test_every_expert_at_once() -> None:
    model = MODEL.model_copy(update={"top_k": 32})
    trace = synthesise(model, requests=1, prompt=1, decode=2, skew=1.0, reuse=0.5, seed=0)
    assert (np.sort(trace.experts, axis=2) == np.arange(32)).all()


def test_is_written_and_read(tmp_path: Any) -> None:
    trace = make(requests=2)
    write_trace(tmp_path / "s.parquet", trace)
    np.testing.assert_array_equal(read_trace(tmp_path / "s.parquet").experts, trace.experts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"requests": 0}, "have no rows"),
        ({"prompt": 0, "decode": 0}, "have no rows"),
        ({"decode": 10**8}, "32,000,001,280 routed slots, more than 250,000,000"),
        ({"reuse": 1.5}, "reuse 1.5 is not in 0..1"),
        ({"skew": -1.0}, "skew -1.0 is not in 0..10"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        make(**change)
