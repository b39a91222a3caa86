"""Recordings as servers make them: vLLM, SGLang, TensorRT-LLM; answers and files of ranks."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import SHAPE, TINY, WRITERS, json_lines, make_trace, notes

from prefetch_sim.traces.format import DECODE, PREFILL, TraceError
from prefetch_sim.traces.importers import import_trace


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
        (
            {"routed_experts": base64.b64encode(b"\0" * 20).decode()},
            "5 int32 numbers are no tokens of .*; numbers of another type need a numpy file",
        ),
        (
            {"routed_experts": base64.b64encode(bytes([1, 0, 2, 0] * 18)).decode()},
            "routed_experts has 131073 as int32; numbers of another type need a numpy file",
        ),
        ({"routed_experts": None}, "no routed_experts in it"),
        (
            {"prompt_tokens": None},
            "does not say how many tokens its prompt has; one of prompt_token_ids, prompt_len,",
        ),
        ({"prompt_tokens": 9, "completion_tokens": None}, "a prompt of 9 tokens, 2 are routed"),
        (
            {"prompt_token_ids": [1, 2, 3]},
            r"a prompt of 3 .prompt_token_ids. and 2 .prompt_tokens. tokens",
        ),
        ({"token_ids": [1]}, r"an answer of 1 .token_ids. and 2 .completion_tokens. tokens"),
        ({"prompt_token_ids": "1, 2"}, "prompt_token_ids '1, 2' is no list"),
        ({"completion_tokens": "2"}, "completion_tokens '2' is not a whole number in 0"),
        *(
            ({"prompt_tokens": wrong}, f"prompt_tokens {wrong!r} is not a whole number in 0")
            for wrong in (-1, 3.0, 2.5, "3", float("nan"), 2**70, True)
        ),
    ],
)
def test_malformed_responses(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    good = base64.b64encode(np.zeros((3, 3, 2), np.int32).tobytes()).decode()
    told = {"prompt_tokens": 2, "completion_tokens": 2, "routed_experts": good} | change
    json_lines(tmp_path / "t.jsonl", {"meta_info": told})
    with pytest.raises(TraceError, match="response 0, choice 0: " + message):
        import_trace(tmp_path / "t.jsonl", model=SHAPE)


def test_a_prompt_apart_is_as_long_as_is_said(tmp_path: Path) -> None:
    rows = base64.b64encode(np.zeros((3, 3, 2), np.int32).tobytes()).decode()
    for length in (2, 4):
        line = {"prompt_len": length, "prompt_routed_experts": rows, "routed_experts": rows}
        json_lines(tmp_path / "t.jsonl", line)
        with pytest.raises(TraceError, match=f"prompt of {length} tokens, prompt_routed.* has 3"):
            import_trace(tmp_path / "t.jsonl", model=SHAPE)


def test_what_several_answers_share_may_be_a_sum(tmp_path: Path) -> None:
    """``usage`` of several prompts adds them up; each says its own."""
    rows = base64.b64encode(
        np.tile(np.int32([[0, 0], [1, 2], [1, 2]]), (3, 1, 1)).tobytes()
    ).decode()
    choice = {"prompt_token_ids": [1, 2], "token_ids": [1, 2], "routed_experts": rows}
    usage = {"prompt_tokens": 4, "completion_tokens": 4}
    json_lines(tmp_path / "t.jsonl", {"choices": [choice, choice], "usage": usage})
    read = import_trace(tmp_path / "t.jsonl", model=SHAPE)
    assert read.phase.tolist() == [PREFILL, PREFILL, DECODE] * 2


@pytest.mark.parametrize("name", ["prompt_len", "prompt_tokens", "num_prompt_tokens"])
def test_a_prompt_s_length_has_several_names(name: str, tmp_path: Path) -> None:
    trace = make_trace(SHAPE, [(2, 2)], seed=1)
    np.savez(tmp_path / "t.npz", **{"routed_experts": trace.experts, name: np.array([2])})
    whole = np.insert(trace.experts.astype(np.int32), 0, 0, axis=1)
    line = {"request_id": "a", name: 2, "routed_experts": base64.b64encode(whole).decode()}
    json_lines(tmp_path / "t.jsonl", line)
    for file in ("t.npz", "t.jsonl"):
        read = import_trace(tmp_path / file, model=SHAPE)
        assert read.phase.tolist() == [PREFILL] * 2 + [DECODE] * 2
        assert not notes(read)


def test_vllm_arrays_without_a_length_say_what_they_are_taken_for(tmp_path: Path) -> None:
    experts = make_trace(SHAPE, [(2, 2)], seed=1).experts
    np.save(tmp_path / "t.npy", experts)
    np.savez(tmp_path / "t.npz", routed_experts=experts)
    for file in ("t.npy", "t.npz"):
        said = notes(import_trace(tmp_path / file, model=SHAPE))
        assert said.startswith("no prompt length in the file: every token is taken as decode (")


def test_vllm_arrays_say_of_which_requests_there_is_no_length(tmp_path: Path) -> None:
    experts = make_trace(SHAPE, [(2, 2)], seed=1).experts
    routed = {f"routed_experts_{request}": experts for request in range(3)}
    np.savez(tmp_path / "t.npz", prompt_len=2, **routed)
    read = import_trace(tmp_path / "t.npz", model=SHAPE)
    assert read.phase.tolist() == [PREFILL] * 2 + [DECODE] * 10
    assert notes(read).startswith("no prompt length of request 1 and 1 more: every token there is")
    np.savez(tmp_path / "t.npz", prompt_len_0=2, prompt_len_2=2, **routed)
    said = notes(import_trace(tmp_path / "t.npz", model=SHAPE))
    assert said.startswith("no prompt length of request 1: every token there is taken as decode (")


def test_notes_of_several_files_are_told_together(tmp_path: Path) -> None:
    for seed in range(3):
        np.save(tmp_path / f"{seed}.npy", make_trace(SHAPE, [(2, 2)], seed=seed).experts)
    said = notes(import_trace(tmp_path, model=SHAPE))
    assert said.startswith("0.npy and 2 more files: no prompt length in the file")
    padded = np.concatenate([make_trace(SHAPE, [(2, 2)], seed=3).experts, np.full((1, 2, 2), -1)])
    np.savez(tmp_path / "3.npz", routed_experts=padded, prompt_len=2)
    said = notes(import_trace(tmp_path, model=SHAPE))
    assert said.endswith(" (and other notes on 3.npz)")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("prompt_lens", 2, r"unknown array 'prompt_lens'; did you mean 'prompt_len'\?"),
        ("prompt_len", [1, 2], "prompt_len is int64 with 1 dimensions, expected one integer"),
        ("prompt_len", 5, "request 0: a prompt of 5 tokens, 4 are routed"),
        ("prompt_len", -1, "request 0: a prompt of -1 tokens"),
    ],
)
def test_malformed_lengths(name: str, value: Any, message: str, tmp_path: Path) -> None:
    experts = make_trace(SHAPE, [(2, 2)], seed=1).experts
    np.savez(tmp_path / "t.npz", **{"routed_experts": experts, name: np.array(value)})
    with pytest.raises(TraceError, match=message):
        import_trace(tmp_path / "t.npz", model=SHAPE)


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
