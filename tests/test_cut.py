"""A part of a recording: some layers, some tokens of each request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import MODEL, small_trace

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup import inputs as setup
from prefetch_sim.traces.cut import some_layers, some_tokens
from prefetch_sim.traces.format import read_trace, write_trace
from prefetch_sim.traces.models.spec import LayersAttention, Recurrent
from prefetch_sim.traces.trace import Trace, TraceError


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    """Of 4 layers; 3 requests of 4 prompt tokens and 8 more, with a predictor 1 layer ahead."""
    small_trace(tmp_path / "t.parquet")
    return read_trace(tmp_path / "t.parquet")


def test_layers_are_of_a_smaller_model(trace: Trace, tmp_path: Path) -> None:
    cut = some_layers(trace, slice(1, 3))
    assert cut.model.topology == (2, 8, 2)
    assert np.array_equal(cut.experts, trace.experts[:, 1:3])
    guess = cut.predictions["guess"]
    assert (guess.experts[:, 0] == -1).all()  # asked in a layer that is no longer there
    assert (guess.scores[:, 0] == 0).all()
    assert np.array_equal(guess.experts[:, 1], trace.experts[:, 2])
    write_trace(tmp_path / "cut.parquet", cut)  # which checks it
    whole = some_layers(trace, slice(None, None))
    assert whole.model == trace.model
    assert np.array_equal(whole.predictions["guess"].experts, trace.experts)


def test_dense_layers_go_with_those_that_route(trace: Trace) -> None:
    dense = MODEL.model_copy(
        update={"layers": 6, "dense_layers": (0, 2), "expert_bytes": (1, 2, 3, 4)}
    )
    trace.meta = trace.meta.model_copy(update={"model": dense})
    for chosen, layers, left, sizes in (
        (slice(0, 2), 4, (0, 2), (1, 2)),
        (slice(1, 3), 3, (0,), (2, 3)),
        (slice(2, None), 2, (), (3, 4)),
    ):
        cut = some_layers(trace, chosen).model
        assert (cut.layers, cut.dense_layers, cut.expert_bytes) == (layers, left, sizes)


def test_layers_that_differ_go_with_their_numbers(trace: Trace) -> None:
    other = LayersAttention(layers=(1, 3), attention=Recurrent(projected=8, width=4, state=16))
    mixed = MODEL.model_copy(update={"other_attention": (other,)})
    trace.meta = trace.meta.model_copy(update={"model": mixed})
    assert [kind for kind, _ in some_layers(trace, slice(1, 4)).model.mixers] == [
        kind for kind, _ in mixed.mixers[1:]
    ]
    assert some_layers(trace, slice(2, 3)).model.other_attention == ()


def test_every_second_window_stays_where_it_was(trace: Trace) -> None:
    local = MODEL.attention.model_copy(update={"sliding_window": 8})
    model = MODEL.model_copy(update={"attention": local})
    trace.meta = trace.meta.model_copy(update={"model": model})
    assert some_layers(trace, slice(2, 4)).model.mixers == model.mixers[2:]
    with pytest.raises(TraceError, match="begins with an even one, not with layer 1"):
        some_layers(trace, slice(1, 3))


def test_tokens_are_of_each_request(trace: Trace, tmp_path: Path) -> None:
    cut = some_tokens(trace, slice(4, 9))
    assert [(r, b - a) for r, a, b in cut.requests] == [(r, 5) for r, _, _ in trace.requests]
    assert cut.position.tolist() == [4, 5, 6, 7, 8] * 3
    assert (cut.phase == 1).all()
    rows = np.concatenate([np.arange(a + 4, a + 9) for _, a, _ in trace.requests])
    assert np.array_equal(cut.experts, trace.experts[rows])
    assert np.array_equal(cut.predictions["guess"].experts, trace.experts[rows])
    write_trace(tmp_path / "cut.parquet", cut)


@pytest.mark.parametrize(
    ("cut", "chosen", "said"),
    [
        (some_layers, slice(0, 5), "layers: '0:5' ends past the trace's 4 MoE layers"),
        (some_layers, slice(4, None), "layers: '4:4' ends past the trace's 4 MoE layers"),
        (some_tokens, slice(0, 13), "tokens: '0:13' ends past the trace's 12 tokens a request"),
        (some_tokens, slice(12, None), "tokens: '12:12' ends past"),
    ],
)
def test_what_is_not_there_is_one_line(trace: Trace, cut: Any, chosen: slice, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        cut(trace, chosen)


def config(folder: Path, **keys: Any) -> RunConfig:
    base = {"trace": str(folder / "t.parquet"), "hardware": "l4", "cache": {"capacity": "50%"}}
    return RunConfig.model_validate({**base, **keys})


def test_a_run_takes_parts(trace: Trace, tmp_path: Path) -> None:
    inputs = setup.load(
        config(tmp_path, requests="1:3", tokens="4:", layers="0:2", predictor="guess")
    )
    assert inputs.workload.layers == inputs.model.moe_layers == 2
    done = simulate(inputs)
    assert len(done.steps) == 16
    assert not done.steps.column("prefill").any()
    # What came before is in the KV cache, so the first step attends to it.
    assert next(iter(inputs.workload.steps())).contexts == (4,)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"layers": "0:9"}, "layers: '0:9' ends past"),
        ({"tokens": "90:"}, "tokens: '90:12' ends past"),
        ({"layers": "0:2", "model": "mixtral-8x7b"}, "recorded on tiny with 2 MoE layers"),
        ({"trace": {"synthetic": "mixtral-8x7b"}, "layers": "0:2"}, "layers: a synthetic trace"),
        ({"trace": {"synthetic": "mixtral-8x7b"}, "tokens": "0:2"}, "tokens: a synthetic trace"),
    ],
)
def test_a_wrong_part_is_one_line(
    trace: Trace, tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        setup.load(config(tmp_path, **keys))


@pytest.mark.parametrize("key", ["tokens", "layers"])
def test_a_bad_slice_names_its_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match=f"'x' is not a slice of {key}"):
        config(tmp_path, **{key: "x"})
