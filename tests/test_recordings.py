"""Recordings as they are found: in pieces, padded, batched, with weights and experts missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import call
from recordings import PROMPTS, SHAPE, TINY, WRITERS, json_lines, make_trace, notes

from prefetch_sim.traces.format import DECODE, PREFILL, TraceError, read_trace, write_trace
from prefetch_sim.traces.importers import import_trace
from prefetch_sim.traces.info import trace_info
from prefetch_sim.traces.models.spec import ModelSpec

PASSES = "a pass of 2 tokens after one of "

# Passes of several tokens.


def megatron(path: Path, *sizes: int) -> Path:
    sets = [[0, 1], [1, 2], [2, 3], [3, 0]]
    passes = [
        {"step": step, "block": "decoder", "layer": layer, "top_indices": sets[:tokens]}
        for step, tokens in enumerate(sizes)
        for layer in range(2)
    ]
    return json_lines(path, *passes)


@pytest.mark.parametrize(
    ("sizes", "prompts", "chunks"),
    [
        ((4, 2, 2), [4, 2, 2], [8]),
        ((3, 2, 1), [3, 3], [6]),
        ((3, 1, 2, 1), [4, 3], [4, 3]),  # after decoding it is no chunk
        ((1, 1, 2), [2, 2], [2, 2]),
    ],
)
def test_passes_are_what_is_said_or_refused(
    sizes: tuple[int, ...], prompts: list[int], chunks: list[int], tmp_path: Path
) -> None:
    path = megatron(tmp_path / "t.jsonl", *sizes)
    with pytest.raises(TraceError, match=f"{PASSES}{sizes[sizes.index(2, 1) - 1]}: say --passes"):
        import_trace(path, model=TINY)
    for passes, lengths in (("prompts", prompts), ("chunks", chunks)):
        trace = import_trace(path, model=TINY, passes=passes)
        assert [last - first for _, first, last in trace.requests] == lengths
    with pytest.raises(TraceError, match="passes 'both' is none of prompts, chunks"):
        import_trace(path, model=TINY, passes="both")


@pytest.mark.parametrize("name", ["megatron", "colibri", "tensorrt-llm"])
def test_two_prompts_are_not_told_from_one_in_chunks(name: str, tmp_path: Path) -> None:
    if name == "tensorrt-llm":
        pytest.importorskip("safetensors")
    WRITERS[name](tmp_path / "t", make_trace(SHAPE, [(3, 1), (2, 1)], seed=1))
    with pytest.raises(TraceError, match=PASSES):
        import_trace(tmp_path / "t", model=SHAPE)
    trace = import_trace(tmp_path / "t", model=SHAPE, passes="prompts")
    assert trace.requests == [(0, 0, 4), (1, 4, 7)]


def test_moe_trace_is_one_prompt_in_pieces(tmp_path: Path) -> None:
    """Only the last piece reaches the last layer, with its last token."""
    text = "layer,expert\n0,0\n0,1\n0,1\n0,2\n0,2\n0,3\n0,3\n0,0\n1,2\n1,3\n0,0\n0,1\n1,1\n1,0\n"
    (tmp_path / "t.csv").write_text(text)
    trace = import_trace(tmp_path / "t.csv", model=TINY)
    assert trace.requests == [(0, 0, 5)]
    assert trace.phase.tolist() == [PREFILL] * 4 + [DECODE]
    assert trace.experts[:, 1].tolist() == [[-1, -1]] * 3 + [[2, 3], [1, 0]]
    one = ModelSpec.model_validate(TINY.model_dump() | {"layers": 1})
    with pytest.raises(TraceError, match="with one MoE layer its tokens cannot be told apart"):
        import_trace(tmp_path / "t.csv", model=one)
    (tmp_path / "t.csv").write_text(text + "0,0\n1,1\n1,0\n")
    with pytest.raises(TraceError, match="line 16: 1 experts of layer 0 in a row are no tokens"):
        import_trace(tmp_path / "t.csv", model=TINY)


# Several files.


def test_files_that_say_different_things_are_joined_or_refused(tmp_path: Path) -> None:
    header = "request,position,layer,experts,token_id\n"
    (tmp_path / "a").write_text(header + "x,0,0,0 1,7\nx,0,1,0 1,7\n")
    (tmp_path / "b").write_text("request,position,layer,experts\n5,3,0,1,2\n5,3,1,2,3\n")
    trace = import_trace([tmp_path / "a", tmp_path / "b"], model=TINY)
    assert trace.requests == [(0, 0, 1), (1, 1, 2)]
    assert trace.position.tolist() == [0, 3]
    assert trace.token_id is None
    assert "token_id left out: not in every file" in notes(trace)
    (tmp_path / "c").write_text("nothing")
    with pytest.raises(TraceError, match="c: format not recognised"):
        import_trace(tmp_path, model=TINY)


def test_words_are_numbered_alike_in_all_files(tmp_path: Path) -> None:
    for name, words in (("a.csv", "xy"), ("b.csv", "yz")):
        rows = [f'{layer},0,{word},"[0, 1]"' for layer in (0, 1) for word in words]
        header = "Layer ID,Batch Number,Token,Activated Expert IDs"
        (tmp_path / name).write_text("\n".join([header, *rows]))
    trace = import_trace(tmp_path, model=TINY)
    assert trace.token_id is not None
    assert trace.token_id.tolist() == [0, 1, 1, 2]


def test_traces_of_this_format_are_joined(tmp_path: Path) -> None:
    """Part files that were imported one by one, in a folder, which are no trace as they are."""
    traces = [make_trace(TINY, [(2, 2)], seed) for seed in (1, 2)]
    (tmp_path / "parts").mkdir()
    for n, trace in enumerate(traces):
        meta = trace.meta.model_copy(update={"recorded": {"source": f"{n}.csv"}})
        write_trace(tmp_path / f"parts/part-0000{n}.parquet", replace(trace, meta=meta))
    with pytest.raises(TraceError, match="its metadata is not that of part-00000"):
        read_trace(tmp_path / "parts")
    joined = import_trace(tmp_path / "parts")
    assert joined.requests == [(0, 0, 4), (1, 4, 8)]
    np.testing.assert_array_equal(joined.experts, np.concatenate([t.experts for t in traces]))
    other = make_trace(SHAPE, [(0, 1)], seed=1)
    write_trace(tmp_path / "other.parquet", other)
    with pytest.raises(TraceError, match=r"its model is not that of .*: layers differs"):
        import_trace([tmp_path / "parts/part-00000.parquet", tmp_path / "other.parquet"])


# Padding, weights, request ids, the last layer.


@pytest.mark.parametrize("padded", [[4, 5], [0, 5], [1, 2], [0, 1, 3]])
def test_rows_without_an_expert_are_no_tokens(padded: list[int], tmp_path: Path) -> None:
    clean = make_trace(TINY, [(0, 6)], seed=1).experts
    dirty = clean.copy()
    dirty[padded] = -1
    np.savez(tmp_path / "t.npz", routed_experts=dirty, prompt_len=0)
    trace = import_trace(tmp_path / "t.npz", model=TINY)
    np.testing.assert_array_equal(trace.experts, np.delete(clean, padded, axis=0))
    assert trace.position.tolist() == list(range(6 - len(padded)))
    assert notes(trace) == f"{len(padded)} rows without an expert in any layer left out"
    np.savez(tmp_path / "t.npz", routed_experts=np.full_like(clean, -1))
    with pytest.raises(TraceError, match="no row has an expert in any layer: nothing was routed"):
        import_trace(tmp_path / "t.npz", model=TINY)


def test_a_trace_that_has_such_rows_says_so(tmp_path: Path) -> None:
    trace = make_trace(TINY, [(0, 3)], seed=1)
    trace.experts[1] = -1
    write_trace(tmp_path / "t.parquet", trace)
    assert trace_info(trace)["tokens"]["unrouted"] == 1
    said = call("trace", "validate", "t.parquet", cwd=tmp_path).stdout
    assert "1 token that no layer routed" in said


ROUTES = """\
# route_trace v1
# model=tiny.gguf arch=other n_layer=2 n_expert=4 n_expert_used=2
# layer=0 expert_bytes=100
# layer=1 expert_bytes=100
turn,phase,step,layer,slot,expert,weight,residency,expert_bytes,dropped
0,1,0,0,0,1,0.9,0,100,0
0,1,0,0,1,2,0.1,0,0,1
0,1,0,1,0,3,0.9,1,0,0
0,1,0,1,1,0,0.1,0,0,1
"""


def test_dropped_experts_are_neither_hit_nor_load(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(ROUTES)
    trace = import_trace(path, model=TINY)
    assert trace.experts.tolist() == [[[1], [3]]]
    assert trace.model.top_k == 1
    assert trace.meta.recorded["device_hit_rate"] == "0.500000"  # one of the two that ran
    assert notes(trace) == "2 experts that the device dropped left out: top-1 of 2"
    path.write_text(ROUTES.replace("0,1,0,1,1,0,0.1,0,0,1", "0,1,0,1,1,0,0.1,0,100,0"))
    with pytest.raises(TraceError, match="dropped experts, which leaves sets of 1 to 2 experts"):
        import_trace(path, model=TINY)


def test_a_miss_is_a_miss_without_bytes_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(ROUTES.replace(",0,1\n", ",0,0\n").replace("dropped", "novel"))
    trace = import_trace(path, model=TINY)
    assert trace.meta.recorded["device_hit_rate"] == "0.250000"
    assert notes(trace) == "columns not read: novel"


@pytest.mark.parametrize("weight", ["nan", "-0.5", "1e9", "inf"])
def test_weights_that_are_none_are_left_out(weight: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(ROUTES.replace("0.9", weight).replace(",0,1\n", ",100,0\n"))
    trace = import_trace(path, model=TINY)
    assert trace.weights is None
    assert notes(trace).startswith("weights left out: row 0, layer 0 has ")


@pytest.mark.parametrize("ids", [(4294967297,), ("cmpl-7", "3"), (2**80, 5), (-1, 0)])
def test_requests_of_any_name(ids: tuple[Any, ...], tmp_path: Path) -> None:
    event = {"phase": "decode", "step_id": 0, "token_position": 0, "expert_ids": [0, 1]}
    path = json_lines(
        tmp_path / "t.jsonl",
        *({"request_id": name, **event, "layer_id": layer} for layer in (0, 1) for name in ids),
    )
    trace = import_trace(path, model=TINY)
    assert trace.request_id.tolist() == list(range(len(ids)))
    assert notes(trace) == "requests numbered in order of first use"


@pytest.mark.parametrize("name", ["csv", "moe-sim", "moe-beyond", "megatron", "imp", "colibri"])
def test_the_last_layer_may_route_only_the_last_of_a_prompt(name: str, tmp_path: Path) -> None:
    trace = make_trace(TINY, [(3, 1) if name in PROMPTS else (0, 3)], seed=2)
    trace.experts[:2, 1] = -1
    path = tmp_path / "t"
    WRITERS[name](path, trace)
    text = path.read_text()
    if name == "megatron":
        text = text.replace("[-1, -1], [-1, -1], ", "")
    elif name == "moe-sim":
        text = "".join(row for row in text.splitlines(True) if '"expert_ids": []' not in row)
    elif name == "imp":
        text = text.replace("[1, -1, -1], ", "")
    else:
        text = "".join(row for row in text.splitlines(True) if "-1" not in row)
    if name == "colibri":
        text = text.replace("2 2 1 ", "2 0 1 ")
    path.write_text(text)
    read = import_trace(path, model=TINY)
    np.testing.assert_array_equal(read.experts, trace.experts)
