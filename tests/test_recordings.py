"""Recordings as they are found: in pieces, padded, batched, with weights and experts missing."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_support import call
from recordings import PROMPTS, SHAPE, WRITERS, make_trace, write_csv, write_parquet

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.traces.format import DECODE, PREFILL, Trace, TraceError, read_trace, write_trace
from prefetch_sim.traces.importers import FORMATS, import_trace
from prefetch_sim.traces.info import trace_info
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.validate import validate

TINY = ModelSpec.model_validate(
    SHAPE.model_dump() | {"layers": 2, "dense_layers": (), "experts": 4}
)
PASSES = "a pass of 2 tokens after one of "


def lines(path: Path, *content: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in content))
    return path


def notes(trace: Trace) -> str:
    return trace.meta.recorded.get("notes", "")


# Passes of several tokens.


def megatron(path: Path, *sizes: int) -> Path:
    sets = [[0, 1], [1, 2], [2, 3], [3, 0]]
    passes = [
        {"step": step, "block": "decoder", "layer": layer, "top_indices": sets[:tokens]}
        for step, tokens in enumerate(sizes)
        for layer in range(2)
    ]
    return lines(path, *passes)


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
    np.savez(tmp_path / "t.npz", routed_experts=dirty)
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
    path = lines(
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


# MoE-Beyond's predictions, vLLM's oddities.


def test_moe_beyond_with_predictions_has_no_batches(tmp_path: Path) -> None:
    rows = ['1,0,"[0, 1]","[0, 2]"', '1,1,"[1, 2]","[1, 2]"', '2,0,"[2, 3]","[2, 3]"']
    header = "Layer ID,Token,Activated Expert IDs,Predicted Expert IDs"
    path = tmp_path / "predicted.csv"
    path.write_text("\n".join([header, *rows, '2,1,"[0, 3]","[0, 1]"']))
    trace = import_trace(path, model=SHAPE)
    assert trace.requests == [(0, 0, 2)]
    assert trace.experts.tolist() == [[[0, 1], [2, 3]], [[1, 2], [0, 3]]]
    assert trace.predictions["moe-beyond"].experts[1].tolist() == [[1, 2], [0, 1]]
    assert trace.token_id is None  # a number of the token is no token


def test_vllm_names_that_are_one_and_layers_of_minus_one(tmp_path: Path) -> None:
    experts = make_trace(SHAPE, [(0, 2)], seed=1).experts
    twice = {"routed_experts_1": experts, "routed_experts_01": experts}
    np.savez(tmp_path / "t.npz", **twice)  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="request 1 has routed_experts twice"):
        import_trace(tmp_path / "t.npz", model=SHAPE)
    for beside in (0, -1):
        dense = np.full((2, 1, 2), beside, np.int16)
        np.savez(tmp_path / "t.npz", routed_experts=np.concatenate([dense, experts], axis=1))
        trace = import_trace(tmp_path / "t.npz", model=SHAPE)
        np.testing.assert_array_equal(trace.experts, experts)


# Parquet of others, and states.


def test_another_parquet_is_explained_without_a_circle(tmp_path: Path) -> None:
    pq.write_table(pa.table({"token": [1, 2], "indices": [[0, 1], [2, 3]]}), tmp_path / "o.parquet")
    with pytest.raises(TraceError, match="Parquet, but no trace of this format"):
        import_trace(tmp_path / "o.parquet")
    with pytest.raises(TraceError, match="not a routing trace; of a trace that another tool wrote"):
        read_trace(tmp_path / "o.parquet")


def test_a_trace_that_pandas_wrote_again(tmp_path: Path) -> None:
    trace = make_trace(SHAPE, [(2, 2), (0, 3)], seed=3)
    trace.experts[0, 1] = -1
    trace.weights = np.where(trace.experts < 0, 0, 0.5).astype(np.float16)
    write_trace(tmp_path / "a.parquet", trace)
    frame = pd.read_parquet(tmp_path / "a.parquet")
    frame.sample(frac=1, random_state=1).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(TraceError, match="does not say its model"):
        import_trace(tmp_path / "b.parquet")
    again = import_trace(tmp_path / "b.parquet", model=SHAPE)
    assert sorted(last - first for _, first, last in again.requests) == [3, 4]
    order = np.lexsort((again.position, again.request_id))
    np.testing.assert_array_equal(again.experts[order], trace.experts)
    assert again.weights is not None
    np.testing.assert_array_equal(again.weights[order], trace.weights)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.uint8())),
        pa.large_list(pa.large_list(pa.int64())),
        pa.list_(pa.list_(pa.int16(), 2)),
        pa.list_(pa.list_(pa.int32(), 2), 2),
    ],
    ids=str,
)
def test_lists_of_any_kind(kind: Any, tmp_path: Path) -> None:
    trace = make_trace(SHAPE, [(2, 2)], seed=4)
    trace.experts[1, 1] = -1
    write_parquet(tmp_path / "t.parquet", trace)
    table = pq.read_table(tmp_path / "t.parquet")
    sets = pa.array(table.column("experts").to_pylist(), kind)
    at = table.schema.get_field_index("experts")
    pq.write_table(table.set_column(at, "experts", sets), tmp_path / "t.parquet")
    np.testing.assert_array_equal(
        import_trace(tmp_path / "t.parquet", model=SHAPE).experts, trace.experts
    )


def test_states_are_explained(tmp_path: Path) -> None:
    write_trace(tmp_path / "part-00000.parquet", make_trace(SHAPE, [(0, 2)], seed=1))
    np.save(tmp_path / "part-00000.gate_input.npy", np.zeros((2, 2, 8), np.float16))
    with pytest.raises(TraceError, match="is a trace of this format already"):
        import_trace(tmp_path)
    with pytest.raises(TraceError, match="states beside a captured trace; the trace is its folder"):
        import_trace(tmp_path / "part-00000.gate_input.npy", model=SHAPE)


# Plain CSV, answers of servers, SGLang's recorder.


@pytest.mark.parametrize("form", ["{} {}", '"[{}, {}]"', "{};{}", "{},{}"])
def test_plain_csv(form: str, tmp_path: Path) -> None:
    rows = [f"a,{at},{layer},{form.format(at, layer + 2)}" for at in (0, 1) for layer in (0, 1)]
    (tmp_path / "t.csv").write_text("\n".join(["Request, Position, Layer, Experts", *rows]))
    trace = import_trace(tmp_path / "t.csv", model=TINY)
    assert trace.experts.tolist() == [[[0, 2], [0, 3]], [[1, 2], [1, 3]]]
    assert trace.phase.tolist() == [DECODE] * 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,1,1,0 4", "line 3: expert 4 out of range 0..3 of tiny"),
        ("a,1,1,0", "line 3: 1 experts, expected 2"),
        ("a,1,1,0 x", "line 3: expert 'x' is not a whole number"),
        ("a,x,1,0 1", "line 3: position 'x' is not a whole number"),
        ("a,1", "line 3: 2 fields, expected 4"),
        ("a,0,0,0 1", "line 3: the same token and layer again"),
        ("a,1,1,0 1", "request 'a', position 1: no experts of layer 0"),
    ],
)
def test_malformed_csv(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"request,position,layer,experts\na,0,0,0 1\n{row}\n")
    with pytest.raises(TraceError) as caught:
        import_trace(tmp_path / "t.csv", model=TINY)
    assert str(caught.value) == f"{tmp_path / 't.csv'}: {message}"


def test_vllm_over_http(tmp_path: Path) -> None:
    """A numpy file in base64, two choices of one prompt, of which one left out its first tokens."""
    trace = make_trace(SHAPE, [(2, 2)], seed=1)

    def choice(experts: Any) -> dict[str, Any]:
        buffer = io.BytesIO()
        np.save(buffer, experts)
        return {
            "token_ids": [1, 2, 3],
            "routed_experts": base64.b64encode(buffer.getvalue()).decode(),
        }

    response = {
        "object": "chat.completion",
        "choices": [choice(trace.experts), choice(trace.experts[1:])],
        "usage": {"prompt_tokens": 2, "completion_tokens": 6},
    }
    (tmp_path / "t.json").write_text(json.dumps(response, indent=1))
    read = import_trace(tmp_path / "t.json", model=SHAPE)
    assert read.position.tolist() == [0, 1, 2, 3, 1, 2, 3]
    assert read.phase.tolist() == [PREFILL] * 2 + [DECODE] * 2 + [PREFILL] + [DECODE] * 2
    np.testing.assert_array_equal(read.experts[4:], trace.experts[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"routed_experts": "?"}, "routed_experts is not base64 of an array"),
        ({"routed_experts": base64.b64encode(b"\0" * 20).decode()}, "5 numbers are no tokens of"),
        ({"routed_experts": None}, "no routed_experts in it"),
        ({"prompt_tokens": None}, "does not say how many tokens its prompt has"),
    ],
)
def test_malformed_responses(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    good = base64.b64encode(np.zeros((3, 3, 2), np.int32).tobytes()).decode()
    told = {"prompt_tokens": 2, "completion_tokens": 2, "routed_experts": good} | change
    lines(tmp_path / "t.jsonl", {"meta_info": told})
    with pytest.raises(TraceError, match="response 0, choice 0: " + message):
        import_trace(tmp_path / "t.jsonl", model=SHAPE)


def recorded(path: Path, *passes: tuple[int, list[int] | None, list[int]]) -> Path:
    """SGLang passes of (mode, lengths, positions); experts tell requests' rows apart."""
    torch = pytest.importorskip("torch")
    found, count = [], 0
    for number, (mode, lengths, positions) in enumerate(passes):
        ids = np.full((2, len(positions), 8), -1, np.int32)
        ids[:, :, 0] = np.arange(count, count + len(positions)) % 4
        ids[:, :, 1] = (ids[:, :, 0] + 1) % 4
        count += len(positions)
        found.append(
            {
                "forward_pass_id": number,
                "input_ids": positions,
                "positions": positions,
                "extend_seq_lens": lengths,
                "forward_mode": mode,
                "topk_ids_of_layer": torch.from_numpy(ids),
            }
        )
    logical = torch.arange(4).repeat(2, 1)
    torch.save({"records": found, "last_physical_to_logical_map": logical}, path)
    return path


def test_sglang_requests_are_told_apart(tmp_path: Path) -> None:
    """Two prompts at once, a third in two pieces between their steps, the first ends early."""
    path = recorded(
        tmp_path / "t.pt",
        (1, [2, 3], [0, 1, 0, 1, 2]),
        (2, None, [2, 3]),
        (1, [5], [0, 1, 2, 3, 4]),
        (2, None, [3, 4]),
        (1, [2], [5, 6]),
        (2, None, [5, 7]),
        (4, None, []),
    )
    trace = import_trace(path, model=TINY)
    lengths = [last - first for _, first, last in trace.requests]
    assert lengths == [4, 6, 8]
    assert trace.phase.tolist() == [0, 0, 1, 1] + [0] * 3 + [1] * 3 + [0] * 7 + [1]
    assert trace.experts[:4, 0, 0].tolist() == [0, 1, 1, 0]
    assert not notes(trace)


def test_sglang_guesses_are_noted(tmp_path: Path) -> None:
    path = recorded(tmp_path / "t.pt", (1, [1, 1], [0, 0]), (2, None, [1]), (2, None, [2]))
    trace = import_trace(path, model=TINY)
    assert [last - first for _, first, last in trace.requests] == [3, 1]
    assert notes(trace) == "which of several requests had ended is a guess, 1 times"


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ([(5, None, [0])], "record 0: forward mode 5 .drafts. is no prefill"),
        ([(1, [3], [0, 1])], "record 0: extend_seq_lens add up to 3 of 2"),
        ([(1, None, [0, 1])], "record 0: expected a list of lengths as extend_seq_lens"),
        ([(1, [2], [0, 2])], "record 0: positions of a sequence do not count up by one"),
        ([(4, None, [])], "no token in it"),
    ],
)
def test_malformed_sglang(passes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=message):
        import_trace(recorded(tmp_path / "t.pt", *passes), model=TINY)


def test_code_in_a_torch_file_is_not_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Code:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"records": [Code()]}, tmp_path / "t.pt")
    with pytest.raises(TraceError, match="not readable by torch as plain data"):
        import_trace(tmp_path / "t.pt", model=TINY)
    assert not (tmp_path / "ran").exists()
    torch.save({"rank": 0, "logical_count": torch.zeros(1, 2, 4)}, tmp_path / "t.pt")
    with pytest.raises(TraceError, match="counts of mode stat are no trace; record with mode"):
        import_trace(tmp_path / "t.pt", model=TINY)


def test_tensorrt_folder_of_ranks(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    for rank in (0, 10, 2):
        trace = make_trace(TINY, [(0, 2)], seed=rank)
        WRITERS["tensorrt-llm"](tmp_path / f"rank{rank}_raw.safetensors", trace)
    about = tmp_path / "meta_info.json"
    about.write_text('{"num_experts": 4, "num_experts_per_token": 2}')
    trace = import_trace(tmp_path, model=TINY)
    expected = [make_trace(TINY, [(0, 2)], seed=rank).experts for rank in (0, 2, 10)]
    np.testing.assert_array_equal(trace.experts, np.concatenate(expected))
    about.write_text('{"num_experts": 5}')
    with pytest.raises(TraceError, match="num_experts is 5, of model tiny 4"):
        import_trace(tmp_path, model=TINY)


def test_counts_are_no_trace(tmp_path: Path) -> None:
    (tmp_path / ".coli_usage").write_text("-1 2 4\n-2 1 99\n0 1 17\n")
    with pytest.raises(TraceError, match="counts how often experts were used"):
        import_trace(tmp_path / ".coli_usage", model=TINY)


@pytest.mark.parametrize("given", [["none"], ["none", "previous-token"], [{"name": "none"}]])
def test_none_in_a_list_of_predictors_is_nothing(given: Any) -> None:
    tree = {"trace": "mini-gpt-oss", "predictor": given}
    named = [choice.name for choice in parse(tree, "run.yaml").predictor]
    assert named == [name for name in given if name == "previous-token"]


def test_from_arrays() -> None:
    experts = make_trace(TINY, [(0, 3)], seed=1).experts
    trace = Trace.from_arrays(TINY, experts)
    assert trace.requests == [(0, 0, 3)]
    assert trace.phase.tolist() == [DECODE] * 3
    several = Trace.from_arrays(TINY, experts.tolist(), requests=["a", "a", "b"], prompt=[1, 0])
    assert several.requests == [(0, 0, 2), (1, 2, 3)]
    assert several.position.tolist() == [0, 1, 0]
    assert several.phase.tolist() == [PREFILL, DECODE, DECODE]
    with pytest.raises(TraceError, match="experts has shape"):
        Trace.from_arrays(TINY, experts[:, :1])
    with pytest.raises(TraceError, match="expert 9 out of range"):
        validate(Trace.from_arrays(TINY, np.full((1, 2, 2), 9)))
    with pytest.raises(TraceError, match="experts is float64, expected whole numbers"):
        Trace.from_arrays(TINY, experts / 1)
    with pytest.raises(TraceError, match="3 prompts for 1 requests"):
        Trace.from_arrays(TINY, experts, prompt=[1, 1, 1])
    with pytest.raises(TraceError, match="request 'a' again"):
        Trace.from_arrays(TINY, experts, requests=["a", "b", "a"])


def test_writers_write_what_is_read_elsewhere(tmp_path: Path) -> None:
    """The plain CSV that the error of an unknown format asks for."""
    trace = make_trace(TINY, [(1, 2), (2, 0)], seed=8)
    write_csv(tmp_path / "t.csv", trace)
    read = import_trace(tmp_path / "t.csv", model=TINY)
    np.testing.assert_array_equal(read.experts, trace.experts)
    np.testing.assert_array_equal(read.phase, trace.phase)


def test_colibri_counts_choose_static_experts(tmp_path: Path) -> None:
    """Layers numbered as in the model, whose first has no router; experts unnamed were not used."""
    write_trace(tmp_path / "t.parquet", make_trace(SHAPE, [(0, 2)], seed=1))
    usage = tmp_path / ".coli_usage"
    static = {"popular": {"experts": 2}, "counts": str(usage)}
    tree = {"trace": str(tmp_path / "t.parquet"), "cache": {"capacity": "50%", "static": static}}
    usage.write_text("-1 3 8\n-2 1 99\n1 3 17\n2 5 9\n2 4 1\n")
    assert load(parse(tree, "run.yaml")).static == (3, 8 + 5)
    usage.write_text("-1 2 8\n1 3 17\n0 5 9\n")
    assert load(parse(tree, "run.yaml")).static == (5, 8 + 3)
    for text, message in {
        "-1 4 8\n": "line 1: 4 layers of 8 experts, the model has 2 MoE layers of 8",
        "-1 3 8\n0 1 1\n": "line 2: there is no expert 1 of layer 0 used 1",
        "-1 3 8\n1 8 1\n": "line 2: there is no expert 8 of layer 1 used 1",
        "-1 3 8\n1 x 1\n": "line 2: expected layer, expert and count, not '1 x 1'",
        "-1 \n": "line 1:  layers of  experts, the model has",
    }.items():
        usage.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load(parse(tree, "run.yaml"))


PAGE = (Path(__file__).parents[1] / "docs/trace-format.md").read_text(encoding="utf-8")


def test_the_page_names_every_importer() -> None:
    table = PAGE.partition("| `--format` |")[2].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    named = [name.strip(" `") for cell in first for name in cell.split(",")]
    assert sorted(named) == sorted(FORMATS)


def test_the_pages_csv_is_read(tmp_path: Path) -> None:
    text = next(block for block in PAGE.split("```") if block.startswith("\nrequest,position"))
    (tmp_path / "t.csv").write_text(text.strip())
    trace = import_trace(tmp_path / "t.csv", model=TINY)
    assert trace.experts.tolist() == [[[3, 1], [0, 2]], [[1, 3], [2, 0]]]
    assert trace.phase.tolist() == [PREFILL, DECODE]
