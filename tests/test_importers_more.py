"""Importers of formats that leave the model open: what is written is read, damage is one line."""

from __future__ import annotations

import csv
import io
import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import call
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from recordings import MINIMAL as WRITERS
from recordings import SHAPE, make_trace, write_moe_sim

from prefetch_sim.traces.format import DECODE, PREFILL, Trace, TraceError, read_trace
from prefetch_sim.traces.importers import FORMATS, import_trace
from prefetch_sim.traces.importers.tidy import tidy
from prefetch_sim.traces.models.spec import ModelSpec

# What each can say: prompt and decode tokens of a request, requests, whether sets may be absent.
DECODE_ONLY = st.tuples(st.just(0), st.integers(1, 4))
ANY = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)
LENGTHS = {
    "moe-sim": (ANY, 3, 0.3),
    "moe-beyond": (DECODE_ONLY, 3, 0),
    "megatron": (st.tuples(st.integers(2, 4), st.integers(0, 3)), 3, 0),
    "imp": (DECODE_ONLY, 1, 0),
    "vllm": (ANY, 3, 0.3),
}


@st.composite
def models(draw: st.DrawFn) -> ModelSpec:
    layers = draw(st.integers(2, 4))
    dense = tuple(draw(st.sets(st.integers(0, layers - 1), max_size=layers - 1)))
    experts = draw(st.integers(1, 6))
    shape = {
        "layers": layers,
        "dense_layers": dense,
        "experts": experts,
        "top_k": draw(st.integers(1, experts)),
    }
    return ModelSpec.model_validate(SHAPE.model_dump() | shape)


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_written_is_read(name: str, tmp_path: Path, data: st.DataObject) -> None:
    of_request, most, absent = LENGTHS[name]
    model = data.draw(models())
    lengths = data.draw(st.lists(of_request, min_size=1, max_size=most))
    trace = make_trace(model, lengths, data.draw(st.integers(0, 99)), absent)
    path = tmp_path / "recording"
    assume((trace.experts >= 0).any())
    WRITERS[name](path, trace)
    trace = tidy(trace)  # a row without any expert is no token
    read = import_trace(path, model=model, passes="prompts" if name == "megatron" else None)
    assert read.meta.recorded["format"] == name
    for column in ("request_id", "position", "phase", "experts"):
        got, want = getattr(read, column), getattr(trace, column)
        np.testing.assert_array_equal(got, want, column)
        assert got.dtype == want.dtype


def small(name: str, path: Path) -> Trace:
    trace = make_trace(SHAPE, [(0, 3)] if name in ("imp", "moe-beyond") else [(2, 2)], seed=1)
    WRITERS[name](path, trace)
    return trace


def problem(path: Path, **options: Any) -> str | None:
    try:
        import_trace(path, **({"model": SHAPE} | options))
    except TraceError as error:
        return str(error)
    return None


def refused(path: Path, **options: Any) -> str:
    """The one line that says why ``path`` cannot be imported, without the path."""
    message = problem(path, **options)
    assert message is not None
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", WRITERS)
def test_the_model_must_be_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    small(name, path)
    assert refused(path, model=None) == "does not say its model; name it with --model"


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    "change",
    [{"layers": 4}, {"layers": 2}, {"experts": 3}, {"top_k": 1}, {"top_k": 3}],
    ids=["more-layers", "fewer-layers", "fewer-experts", "smaller-k", "larger-k"],
)
def test_another_model_is_refused(name: str, change: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "recording"
    small(name, path)
    other = ModelSpec.model_validate(SHAPE.model_dump() | {"name": "other"} | change)
    refused(path, model=other)


def test_by_command(tmp_path: Path) -> None:
    model = ModelSpec.model_validate(SHAPE.model_dump() | {"layers": 2})
    (tmp_path / "tiny.yaml").write_text(model.model_dump_json())
    trace = make_trace(model, [(0, 2)], seed=3)
    write_moe_sim(tmp_path / "recording", trace)
    imported = call(
        "trace", "import", "recording", "-o", "t.parquet", "--model", "tiny.yaml", cwd=tmp_path
    )
    assert imported.returncode == 0, imported.stderr
    np.testing.assert_array_equal(read_trace(tmp_path / "t.parquet").experts, trace.experts)
    bare = call("trace", "import", "recording", "-o", "u.parquet", cwd=tmp_path)
    assert bare.returncode == 2
    assert bare.stderr == "error: recording: does not say its model; name it with --model\n"
    assert not (tmp_path / "u.parquet").exists()


@pytest.mark.parametrize("name", WRITERS)
def test_empty_and_foreign_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    for content in (b"", b"\n", b"\xff\xfe\x00", b"42", b"[]", b"{}", b'"', b"[" * 100_000):
        path.write_bytes(content)
        refused(path, format=name)
    with path.open("wb") as file:
        np.savez(file, other=np.zeros(3))
    refused(path, format=name)


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_one_line_or_another_trace(
    name: str, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "recording"
    small(name, path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    for options in ({"format": name}, {}):
        message = problem(path, **options)
        assert message is None or message.startswith(f"{path}: ")
        assert message is None or "\n" not in message


# MoE-Beyond

BEYOND = """\
Layer ID,Batch Number,Token,Activated Expert IDs,Token Embedding Vector
1,0,"<s>","[3, 5]","[0.1, 0.2]"
1,0,",","[6, 3]","[0.1, 0.2]"
1,0,"<s>","[0, 1]","[0.1, 0.2]"
2,0,"<s>","[7, 0]","[0.1, 0.2]"
2,0,",","[1, 2]","[0.1, 0.2]"
2,0,"<s>","[2, 4]","[0.1, 0.2]"
"""


def test_moe_beyond_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "prompt_1_data.csv"
    path.write_text(BEYOND, encoding="utf-8-sig")
    trace = import_trace(path, model=SHAPE)
    assert trace.experts.tolist() == [[[3, 5], [7, 0]], [[6, 3], [1, 2]], [[0, 1], [2, 4]]]
    assert trace.token_id is not None
    assert trace.token_id.tolist() == [0, 1, 0]
    assert trace.phase.tolist() == [DECODE] * 3
    assert not trace.predictions


@pytest.mark.parametrize("form", ["[{}, {}]", "{},{}", "{} {}", "{};{}", "[{} {}]", "[ {}  {}]"])
def test_moe_beyond_lists_and_predictions(form: str, tmp_path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ["Layer ID", "Batch Number", "Token", "Activated Expert IDs", "Predicted Expert IDs"]
    )
    for layer in (1, 2):
        for batch in (0, 1):
            predicted = "[]" if (layer, batch) == (2, 1) else form.format(layer, 7)
            writer.writerow([layer, batch, "a", form.format(batch, 5), predicted])
    path = tmp_path / "t.csv"
    path.write_text(text.getvalue())
    trace = import_trace(path, model=SHAPE)
    assert trace.experts.tolist() == [[[0, 5], [0, 5]], [[1, 5], [1, 5]]]
    assert trace.requests == [(0, 0, 1), (1, 1, 2)]
    prediction = trace.predictions["moe-beyond"]
    assert prediction.experts.tolist() == [[[1, 7], [2, 7]], [[1, 7], [-1, -1]]]
    assert prediction.scores.tolist() == [[[1, 1], [1, 1]], [[1, 1], [0, 0]]]
    info = trace.meta.predictions["moe-beyond"]
    assert (info.trigger, info.distance, info.flops, info.bytes) == ("layer_start", 0, 0, 0)
    assert "unknown" in info.description
    path.write_text(text.getvalue().replace(form.format(2, 7), form.format(2, 2)))
    assert refused(path).endswith("expert 2 twice in one set")


LAST = '2,0,"<s>","[2, 4]","[0.1, 0.2]"\n'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[2, 4]", "[2, 8]", "line 7: expert 8 out of range 0..7 of tiny"),
        ("[2, 4]", "[2, 70000]", "line 7: expert 70000 out of range 0..7 of tiny"),
        ("[2, 4]", "[2, -1]", "line 7: expert '-1' is not a whole number in 0..999999999"),
        ("[2, 4]", "[2, 4.0]", "line 7: expert '4.0' is not a whole number in 0..999999999"),
        ("[2, 4]", "[2, ٤]", "line 7: expert '٤' is not a whole number in 0..999999999"),
        ("[2, 4]", "[2, 2]", "line 7: expert 2 twice in one set"),
        ("[2, 4]", "[2]", "line 7: 1 experts, expected 2"),
        ("[2, 4]", "", "line 7: 0 experts, expected 2"),
        (LAST, "", "request 0, position 2: no experts of layer 2"),
        (LAST, LAST * 2, "request 0, position 3: no experts of layer 1"),
        (LAST, LAST.replace("2,", "9,", 1), "line 7: layer 9 is none of the routers of tiny"),
        (LAST, LAST.replace("2,", "0,", 1), "line 7: layer 0 is none of the routers of tiny"),
        (
            LAST,
            LAST.replace("2,", "x,", 1),
            "line 7: layer id 'x' is not a whole number in 0..999999999",
        ),
        (LAST, LAST.replace("<s>", "b"), "line 7: token differs between layers"),
        (LAST, "2,0\n", "line 7: 2 fields, expected 5"),
        (LAST, LAST[:20], "line 7: unexpected end of data"),
        ("Token,", "Tokens,", "line 1: no column 'token'"),
        (BEYOND[BEYOND.index("\n") :], "\n", "no routed sets in it"),
    ],
)
def test_malformed_moe_beyond(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert BEYOND.count(old) == 1
    path = tmp_path / "t.csv"
    path.write_text(BEYOND.replace(old, new))
    assert refused(path, format="moe-beyond").startswith(message)


# moe-sim


def event(**changed: Any) -> dict[str, Any]:
    keys = {"request_id": 7, "phase": "decode", "step_id": 0, "token_position": 0, "layer_id": 1}
    return {**keys, "expert_ids": [1, 2], **changed}


def write_lines(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_moe_sim_by_hand(tmp_path: Path) -> None:
    """Requests take turns; routers may be numbered alone; no experts is no routing."""
    path = write_lines(
        tmp_path / "t.jsonl",
        event(request_id=9, layer_id=0, phase="prefill", expert_ids=[4, 3]),
        event(request_id=7, layer_id=0, token_position=5, expert_ids=[]),
        event(request_id=7, layer_id=1, token_position=5),
        event(request_id=9, layer_id=1, phase="prefill"),
        event(request_id=7, layer_id=1, token_position=6, phase="unknown"),
        event(request_id=7, layer_id=0, token_position=6, phase="unknown", expert_ids=[0, 7]),
    )
    trace = import_trace(path, model=SHAPE)
    assert trace.requests == [(7, 0, 2), (9, 2, 3)]
    assert trace.position.tolist() == [5, 6, 0]
    assert trace.phase.tolist() == [DECODE, DECODE, PREFILL]
    assert trace.experts.tolist() == [[[-1, -1], [1, 2]], [[0, 7], [1, 2]], [[4, 3], [1, 2]]]
    assert trace.meta.recorded["phases"] == "decode, prefill, unknown"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (event(layer_id=2, expert_ids=[1, 8]), "line 2: expert 8 out of range 0..7 of tiny"),
        (event(layer_id=2, expert_ids=[1, -1]), "line 2: expert -1 out of range 0..7 of tiny"),
        (event(layer_id=2, expert_ids=[1, 1]), "line 2: expert 1 twice in one set"),
        (event(layer_id=2, expert_ids=[1]), "line 2: 1 experts, expected 2"),
        (event(layer_id=2, expert_ids=[1, 2.0]), "line 2: expected a list of whole numbers"),
        (event(layer_id=2, expert_ids=[1, True]), "line 2: expected a list of whole numbers"),
        (event(layer_id=2, expert_ids=3), "line 2: expected a list of whole numbers as experts"),
        (event(layer_id=2, expert_ids=None), "line 2: expected a list of whole numbers as experts"),
        (event(layer_id="2"), "line 2: layer '2' is not a whole number in 0..2147483647"),
        (event(layer_id=-2), "line 2: layer -2 is not a whole number in 0..2147483647"),
        (event(layer_id=3), "line 2: layer 3 is none of the routers of tiny"),
        (event(request_id=None), "line 2: request None is neither a whole number nor a text"),
        (event(request_id=0.5), "line 2: request 0.5 is neither a whole number nor a text"),
        (event(token_position=0.5), "line 2: position 0.5 is not a whole number"),
        (event(phase="Decode"), "line 2: phase 'Decode' is none of prefill, decode, unknown"),
        (event(phase=None), "line 2: phase None is none of prefill, decode, unknown"),
        (event(layer_id=2, phase="prefill"), "line 2: phase differs between layers"),
        (event(), "line 2: the same token and layer again"),
        (event(token_position=1), "the file has 1 layer, tiny has 2 that route"),
        ([1], "line 2: expected a JSON object"),
        ({"request_id": 1}, "line 2: no key 'phase'"),
    ],
)
def test_malformed_moe_sim(wrong: Any, message: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.jsonl", event(), wrong)
    assert refused(path).startswith(message)


def test_moe_sim_cut_short(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.jsonl", event(), event(layer_id=2))
    path.write_text(path.read_text()[:-9])
    assert refused(path).startswith("line 2: not JSON: ")
    path.write_text(json.dumps(event()) + '\n{"request_id": ' + "9" * 5000 + "}\n")
    assert refused(path) == "line 2: JSON beyond what can be read"


def test_positions_must_follow_each_other(tmp_path: Path) -> None:
    lines = [event(token_position=at, layer_id=layer) for at in (0, 2) for layer in (1, 2)]
    assert refused(write_lines(tmp_path / "t.jsonl", *lines)) == "row 1: position 2 follows 0"


# Megatron


def forward(step: int, layer: int, *experts: list[int], **more: Any) -> dict[str, Any]:
    return {"step": step, "block": "decoder", "layer": layer, "top_indices": [*experts], **more}


def test_megatron_by_hand(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "router_trace_rank0.jsonl",
        forward(0, 1, [0, 1], [2, 3], probs=[[0.75, 0.25], [0.5, 0.5]], hs_offset=0),
        forward(0, 2, [4, 5], [6, 7], probs=[[0.5, 0.5], [1, 0]]),
        forward(0, 1, [7, 7], block="mtp", mtp_idx=0),
        forward(1, 1, [0, 2], probs=[[0.5, 0.5]]),
        forward(1, 2, [0, 3], probs=[[0.5, 0.5]]),
        # A layer again in its step: another pass, of more than one token, another request.
        forward(1, 1, [1, 2], [1, 3], probs=[[0.5, 0.5]] * 2),
        forward(1, 2, [1, 4], [1, 5], probs=[[0.5, 0.5]] * 2),
    )
    trace = import_trace(path, model=SHAPE, passes="prompts")
    assert trace.requests == [(0, 0, 3), (1, 3, 5)]
    assert trace.phase.tolist() == [PREFILL, PREFILL, DECODE, PREFILL, PREFILL]
    assert trace.experts[:3].tolist() == [[[0, 1], [4, 5]], [[2, 3], [6, 7]], [[0, 2], [0, 3]]]
    assert trace.weights is not None
    assert trace.weights[:2].tolist() == [[[0.75, 0.25], [0.5, 0.5]], [[0.5, 0.5], [1, 0]]]


def test_megatron_pass_longer_than_the_head(tmp_path: Path) -> None:
    ahead = {"step": 0, "layer": 1, "num_tokens": 1, "topk": 2, "hidden": [0.5] * 9000}
    after = {"step": 0, "layer": 2, "top_indices": [[0, 1]]}
    path = write_lines(tmp_path / "t.jsonl", ahead | {"top_indices": [[0, 1]]}, after)
    assert import_trace(path, model=SHAPE).experts.tolist() == [[[0, 1], [0, 1]]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (forward(0, 2, [1, 8], [1, 2]), "line 2: expert 8 out of range 0..7 of tiny"),
        (forward(0, 2, [1, 1], [1, 2]), "line 2: expert 1 twice in one set"),
        (forward(0, 2, [1, 2], [1]), "line 2: 1 experts, expected 2"),
        (forward(0, 2, *[[1, 2]] * 3), "line 1: 2 tokens, other layers of the pass have 3"),
        (forward(0, 2), "line 2: expected a list of each token's experts as top_indices"),
        (forward(0, 2) | {"top_indices": [1, 2]}, "line 2: expected a list of whole numbers"),
        (forward(0, 3, [1, 2], [1, 2]), "line 2: layer 3 is none of the routers of tiny"),
        (forward(0, 2) | {"top_indices": [None, [1, 2]]}, "line 2: expected a list of whole"),
        (forward(0, 2) | {"step": None}, "line 2: step None is not a whole number"),
        (forward(0, 2) | {"layer": [2]}, "line 2: layer [2] is not a whole number"),
        (forward(1, 1, [1, 2]), "the file has 1 layer, tiny has 2 that route"),
        (forward(0, 2, [1, 2], [1, 2], probs=[[1, 0]]), "line 2: expected weights of 2 tokens"),
        (forward(0, 2, [1, 2], [1, 2], probs=[[1], [1]]), "line 2: 1 weights, expected 2"),
        (forward(0, 2, [1, 2], [1, 2], probs=[["1", 0]] * 2), "line 2: expected a list of numbers"),
        (forward(0, 2, [1, 2], [1, 2], probs=[[1, 0]] * 2), "line 2: weights are given in some"),
    ],
)
def test_malformed_megatron(wrong: Any, message: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.jsonl", forward(0, 1, [0, 1], [2, 3]), wrong)
    assert refused(path).startswith(message)


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf"), 1e9, 10**400])
def test_megatron_weights_that_are_none(weight: float, tmp_path: Path) -> None:
    """No run needs them: all are left out, and that is said."""
    lines = [forward(0, layer, [0, 1], probs=[[weight, 0.5]]) for layer in (1, 2)]
    trace = import_trace(write_lines(tmp_path / "t.jsonl", *lines), model=SHAPE)
    assert trace.weights is None
    assert trace.meta.recorded["notes"].startswith("weights left out: row 0, layer 0 has ")


# imp

IMP = [[1, 3, 5], [2, 7, 0], [1, 6, 3], [2, 1, 2]]
FLAT = [*chain(*IMP)]


@pytest.mark.parametrize(
    "content",
    [
        IMP,
        FLAT,
        {"top_k": 2, "trace": IMP},
        {"model": "m", "entries": FLAT},
        [[layer - 1, *experts] for layer, *experts in IMP],
    ],
)
def test_imp_by_hand(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(content, indent=1))
    trace = import_trace(path, model=SHAPE)
    assert trace.experts.tolist() == [[[3, 5], [7, 0]], [[6, 3], [1, 2]]]
    assert trace.phase.tolist() == [DECODE] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([*IMP, [1, 8, 0]], "record 4: expert 8 out of range 0..7 of tiny"),
        ([*IMP, [1, 2, 2]], "record 4: expert 2 twice in one set"),
        ([*IMP, [1, 2]], "record 4: 1 experts, expected 2"),
        ([*IMP, [1]], "record 4: 0 experts, expected 2"),
        ([*IMP, [1, None, 2]], "record 4: expected a list of whole numbers as experts"),
        ([*IMP, []], "record 4: expected a list of layer and experts"),
        ([*IMP, 1], "record 4: expected a list of layer and experts"),
        ([*IMP, [True, 1, 2]], "record 4: expected a list of layer and experts"),
        ([*IMP, [-1, 1, 2]], "record 4: layer -1 is not a whole number in 0..2147483647"),
        ([*IMP, [3, 1, 2]], "record 4: layer 3 is none of the routers of tiny"),
        ([*IMP, [1, 1, 2]], "request 0, position 2: no experts of layer 2"),
        ([*FLAT, 1, 2], "record 4: 1 experts, expected 2"),
        # Two tokens in one batch.
        ([[1, 3, 5], [1, 6, 3], [2, 7, 0], [2, 1, 2]], "request 0, position 2: no experts of"),
        ({"trace": 3}, "expected a list of records, alone or as trace or entries or data"),
    ],
)
def test_malformed_imp(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(content))
    assert refused(path, format="imp").startswith(message)
    path.write_text(json.dumps(IMP)[:-3])
    assert refused(path).startswith("not JSON: ")


# vLLM


def arrays(prompt: int = 2, generated: int = 2) -> dict[str, Any]:
    experts = make_trace(SHAPE, [(prompt, generated)], seed=2).experts
    return {"prompt_routed_experts": experts[:prompt], "routed_experts": experts[prompt:]}


def save(path: Path, **content: Any) -> Path:
    np.savez(path, **{name: array for name, array in content.items() if array is not None})
    return path


def test_vllm_by_hand(tmp_path: Path) -> None:
    both = arrays()
    ids = {"prompt_token_ids": np.array([5, 6]), "token_ids": np.array([7, 8, 9])}
    trace = import_trace(save(tmp_path / "t.npz", **both, **ids), model=SHAPE)
    assert trace.phase.tolist() == [PREFILL, PREFILL, DECODE, DECODE]
    assert trace.position.tolist() == [0, 1, 2, 3]
    assert trace.token_id is not None
    assert trace.token_id.tolist() == [5, 6, 7, 8]
    np.testing.assert_array_equal(trace.experts[2:], both["routed_experts"])
    # A row of zeros stands for the last token, which was never fed back.
    padded = np.concatenate([both["routed_experts"], np.zeros((1, 2, 2), np.int16)])
    again = import_trace(
        save(tmp_path / "u.npz", **(both | {"routed_experts": padded})), model=SHAPE
    )
    np.testing.assert_array_equal(again.experts, trace.experts)


def test_vllm_before_prompts_came_apart(tmp_path: Path) -> None:
    """One array of prompt and generation, with a row of zeros for the dense layer."""
    whole = np.concatenate(list(arrays().values()))
    with_dense = np.concatenate([np.zeros((4, 1, 2), np.int16), whole], axis=1)
    path = save(tmp_path / "t.npz", routed_experts=with_dense, prompt_token_ids=np.array([5, 6, 7]))
    trace = import_trace(path, model=SHAPE)
    np.testing.assert_array_equal(trace.experts, whole)
    assert trace.phase.tolist() == [PREFILL] * 3 + [DECODE]
    assert trace.token_id is None
    np.save(tmp_path / "t.npy", whole.astype(np.uint8))
    trace = import_trace(tmp_path / "t.npy", model=SHAPE)
    np.testing.assert_array_equal(trace.experts, whole)
    assert trace.phase.tolist() == [DECODE] * 4


def test_vllm_cached_prefix_was_not_routed(tmp_path: Path) -> None:
    both = arrays()
    both["prompt_routed_experts"][0] = -1
    trace = import_trace(save(tmp_path / "t.npz", **both), model=SHAPE)
    assert trace.position.tolist() == [1, 2, 3]  # the context is there, the work is not
    assert trace.phase.tolist() == [PREFILL, DECODE, DECODE]
    assert trace.meta.recorded["notes"] == "1 row without an expert in any layer left out"
    both["prompt_routed_experts"][0, 1, 0] = 3
    assert refused(save(tmp_path / "t.npz", **both)) == "row 0, layer 1: set is partly null"


GOOD = arrays()["routed_experts"].astype(np.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"routed_experts": GOOD[:, :1]}, "routed_experts has 1 layers of top-2, model tiny 2 of"),
        (
            {"routed_experts": GOOD[..., :1]},
            "routed_experts has 2 layers of top-1, model tiny 2 of",
        ),
        ({"routed_experts": GOOD + 8}, "routed_experts, row 0, layer 0: expert "),
        ({"routed_experts": -1 - GOOD}, "routed_experts, row 0, layer 0: expert -"),
        ({"routed_experts": GOOD + 2**40}, "routed_experts holds numbers of more than 32 bits"),
        ({"routed_experts": GOOD[0]}, "routed_experts is int64 with 2 dimensions, expected int"),
        ({"routed_experts": GOOD / 1}, "routed_experts is float64 with 3 dimensions, expected int"),
        ({"routed_experts": np.array([None])}, "damaged: holds Python objects"),
        ({"routed_experts": np.zeros((3, 2, 2), int)}, "row 2, layer 0: expert 0 twice in one"),
        ({"prompt_token_ids": np.arange(3)}, "request 0: 3 prompt_token_ids for 2 routed tokens"),
        ({"token_ids": np.arange(1)}, "request 0: 1 token_ids for 2 routed tokens"),
        ({"token_ids_1": np.arange(1)}, "request 1 has no array 'routed_experts'"),
        (dict.fromkeys(arrays()), "no array 'routed_experts' or 'prompt_routed_experts'"),
    ],
)
def test_malformed_vllm(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "t.npz", **(arrays() | change))
    assert refused(path, format="vllm").startswith(message)


def test_every_format_is_recognised_for_what_it_is(tmp_path: Path) -> None:
    for name in WRITERS:
        path = tmp_path / "recording"
        small(name, path)
        head = path.read_bytes()[:4096]
        assert [other for other, module in FORMATS.items() if module.matches(head, path)] == [name]
