"""Importers: small files by hand, every malformed line, and the real recordings where present."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefetch_sim.traces.format import DECODE, PREFILL, TraceError, read_trace, write_trace
from prefetch_sim.traces.importers import FORMATS, import_trace
from prefetch_sim.traces.importers.known_models import GPT_OSS_20B
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RECORDINGS = pytest.mark.skipif(
    not DATA.is_dir(), reason="third-party recordings not found in ../shared/data"
)
PHONE = DATA / "big-moe-on-edge"
GPT_OSS = DATA / "gpt-oss-20b"

# Three layers, the first of them dense: layers 1 and 2 route.
SHAPE = ModelSpec(
    name="tiny",
    layers=3,
    dense_layers=(0,),
    hidden=8,
    experts=8,
    top_k=4,
    expert_hidden=4,
    dense_hidden=16,
    attention=GroupedQueryAttention(heads=2, kv_heads=1, head_dim=4),
    vocab=100,
)
PREAMBLE = """\
# route_trace v1
# model=/sdcard/Tiny-Q4.gguf arch=tiny n_layer=3 n_expert=8 n_expert_used=2
# layer=1 expert_bytes=100 dense_bytes=7
# layer=2 expert_bytes=120 dense_bytes=7
"""
# Prefill of two tokens, layer by layer; layer 2 routes only the last. Then one decode token.
ROWS = """\
turn,phase,step,layer,slot,expert,weight,residency,expert_bytes,lane
0,0,0,1,0,3,0.75,0,100,0
0,0,0,1,1,5,0.25,0,100,0
0,0,1,1,0,3,0.5,0,0,0
0,0,1,1,1,6,0.5,0,100,0
0,0,1,2,0,7,0.5,0,120,0
0,0,1,2,1,0,0.5,0,120,0
0,1,2,1,0,5,0.5,1,0,0
0,1,2,1,1,1,0.5,0,100,0
0,1,2,2,0,0,0.5,1,0,0
0,1,2,2,1,7,0.5,1,0,0
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_route_trace_by_hand(tmp_path: Path) -> None:
    trace = import_trace(write(tmp_path / "any.name", PREAMBLE + ROWS), model=SHAPE)
    assert trace.model.name == "Tiny-Q4"
    assert trace.model.topology == (2, 8, 2)
    assert trace.model.bytes_per_expert() == (100, 120)
    assert trace.phase.tolist() == [PREFILL, PREFILL, DECODE]
    assert trace.position.tolist() == [0, 1, 2]
    assert trace.experts.tolist() == [[[3, 5], [-1, -1]], [[3, 6], [7, 0]], [[5, 1], [0, 7]]]
    assert trace.weights is not None
    assert trace.weights[0].tolist() == [[0.75, 0.25], [0, 0]]
    # Prefill: 3, 5, 6 and 7, 0 all missed. Decode: three hits of four.
    assert float(trace.meta.recorded["device_hit_rate"]) == pytest.approx(3 / 9, abs=1e-6)
    assert float(trace.meta.recorded["device_decode_hit_rate"]) == 0.75


def test_route_trace_columns_are_read_by_name(tmp_path: Path) -> None:
    lines = [line.split(",") for line in ROWS.splitlines()]
    mixed = "\n".join(",".join([*line[5:7], *line[4::-1]]) for line in lines)
    one = import_trace(write(tmp_path / "a.csv", PREAMBLE + ROWS), model=SHAPE)
    other = import_trace(write(tmp_path / "b.csv", PREAMBLE + mixed), model=SHAPE)
    np.testing.assert_array_equal(one.experts, other.experts)
    np.testing.assert_array_equal(one.weights, other.weights)


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(PREAMBLE + ROWS, encoding="utf-8-sig")
    assert import_trace(path, model=SHAPE).tokens == 3
    path = tmp_path / "t.json"
    path.write_text(json.dumps(json_content()), encoding="utf-8-sig")
    assert import_trace(path).tokens == 3


def test_route_trace_turns_become_requests(tmp_path: Path) -> None:
    again = "".join(f"1{line[1:]}\n" for line in ROWS.splitlines()[1:])
    packed = tmp_path / "two.csv.gz"
    packed.write_bytes(gzip.compress((PREAMBLE + ROWS + again).encode()))
    trace = import_trace(packed, model=SHAPE)
    assert trace.requests == [(0, 0, 3), (1, 3, 6)]


def _edit(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert text.count(old) == 1
        return text.replace(old, new)

    return edit


LAST = "0,1,2,2,1,7,0.5,1,0,0\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_edit(LAST, "0,1,2,2,1"), "line 15: 5 fields, expected 10"),
        (_edit(LAST, LAST + "0,1,\n"), "line 16: 3 fields, expected 10"),
        (_edit(LAST, LAST.replace(",7,", ",x,")), "line 15: expert 'x' is not a number"),
        (_edit(LAST, LAST.replace(",7,", ",,")), "line 15: expert '' is not a number"),
        (_edit(LAST, LAST.replace(",7,", ",1.5,")), "line 15: expert '1.5' is not a number"),
        (_edit(LAST, LAST.replace("0.5", "none")), "line 15: weight 'none' is not a number"),
        (_edit(LAST, LAST.replace(",7,", ",8,")), "line 15: expert 8 out of range 0..7"),
        (_edit(LAST, LAST.replace(",7,", ",65543,")), "line 15: expert 65543 out of range"),
        (_edit(LAST, LAST.replace(",7,", ",0,")), "row 2, layer 1: expert 0 twice in one set"),
        (_edit(LAST, LAST.replace("2,2,1", "2,2,2")), "line 15: slot 2 out of 0..1"),
        (_edit(LAST, LAST.replace("2,2,1", "2,2,0")), "line 15: the same turn, step, layer and"),
        (_edit(LAST, LAST.replace("2,2,1", "2,0,1")), "line 15: layer 0 is none of the model's"),
        (_edit(LAST, LAST.replace("2,2,1", "2,9,1")), "line 15: layer 9 is none of the model's"),
        (_edit(LAST, LAST.replace("2,2,1", "9,2,1")), "row 3: position 9 follows 2"),
        (_edit(LAST, LAST.replace("0,1,2", "0,0,2")), "phase differs within a step"),
        (_edit(LAST, ""), "row 2, layer 1: set is partly null"),
        (_edit("slot,expert,", "slot,exprt,"), "line 5: no column 'expert'; did you mean 'exprt'?"),
        (_edit(ROWS, ROWS.splitlines()[0]), "no rows after line 5"),
        (_edit(ROWS, ""), "no header line"),
        (_edit("n_expert_used=2", ""), "the preamble has no whole number n_expert_used="),
        (
            _edit("n_expert_used=2", "n_expert_used=9"),
            "the preamble is inconsistent: top_k 9 exceeds experts 8",
        ),
        (
            _edit("n_expert_used=2", "n_expert_used=0"),
            "the preamble is inconsistent: top_k: Input should be greater than 0",
        ),
        (_edit("layer=2 expert_bytes=120", "layer=2"), "no expert_bytes of layer 2"),
        (_edit("expert_bytes=120", "expert_bytes=x"), "line 4: expected layer= and expert_bytes="),
        (_edit("n_layer=3", "n_layer=4"), "4 layers of 8 experts, but model tiny has 3 of 8"),
    ],
)
def test_malformed_route_trace(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    path = write(tmp_path / "t.csv", change(PREAMBLE + ROWS))
    with pytest.raises(TraceError) as caught:
        import_trace(path, model=SHAPE)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_route_trace_of_an_unknown_shape(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", PREAMBLE + ROWS)
    with pytest.raises(
        TraceError, match="shape of arch=tiny unknown, name a model; known: gpt-oss"
    ):
        import_trace(path)
    path = write(tmp_path / "t.csv", (PREAMBLE + ROWS).replace("arch=tiny", "arch=gpt-oss"))
    with pytest.raises(TraceError, match="no known arch=gpt-oss has 3 layers of 8 experts"):
        import_trace(path)


def npz_arrays(tokens: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "expert_ids": rng.random((tokens, 24, 32)).argsort(axis=2)[:, :, :4].astype(np.uint8),
        "expert_probs": rng.random((tokens, 24, 4)).astype(np.float16),
        "request_offsets": np.array([0, 2, tokens]),
        "token_local_id": np.arange(tokens, dtype=np.int32),
        "position": np.array([7, 8, *range(3, tokens + 1)], np.int32),
    }


def test_npz_by_hand(tmp_path: Path) -> None:
    arrays = npz_arrays()
    np.savez(tmp_path / "t.npz", **arrays)
    trace = import_trace(tmp_path / "t.npz")
    assert trace.model == GPT_OSS_20B
    assert trace.requests == [(0, 0, 2), (1, 2, 6)]
    np.testing.assert_array_equal(trace.experts, arrays["expert_ids"])


def test_npz_offsets_may_be_unsigned(tmp_path: Path) -> None:
    arrays = npz_arrays()
    arrays["request_offsets"] = arrays["request_offsets"].astype(np.uint64)
    np.savez(tmp_path / "t.npz", **arrays)
    assert import_trace(tmp_path / "t.npz").requests == [(0, 0, 2), (1, 2, 6)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": None}, "no array 'position'"),
        ({"position": np.arange(5)}, "position has shape (5,), expected (6,)"),
        ({"position": np.array([7, 9, 3, 4, 5, 6])}, "row 1: position 9 follows 7"),
        ({"request_offsets": np.array([0, 4, 2, 6])}, "request_offsets do not rise from 0 to 6"),
        ({"position": np.arange(6) + 2**32}, "row 0: position 4294967296 is out of range"),
        ({"position": np.arange(-1, 5)}, "row 0: position -1 is out of range"),
        ({"token_local_id": np.array([0, 2**32] * 3)}, "row 1: token_local_id 4294967296 is out"),
        ({"request_offsets": np.array([0, 2**64 - 1, 6], np.uint64)}, "request_offsets do not"),
        ({"request_offsets": np.array([0, 5])}, "request_offsets do not rise from 0 to 6"),
        ({"expert_ids": np.zeros((6, 24), np.uint8)}, "expert_ids is uint8 with 2 dimensions"),
        ({"expert_ids": np.full((6, 24, 4), 65539)}, "row 0, layer 0: expert 65539 out of range"),
        ({"expert_ids": np.zeros((6, 24, 4))}, "expert_ids is float64 with 3 dimensions"),
        ({"expert_probs": np.full((6, 24, 4), "x")}, "expert_probs is <U1 with 3 dimensions"),
    ],
)
def test_malformed_npz(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "t.npz"
    arrays = npz_arrays() | change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(TraceError) as caught:
        import_trace(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_npz_of_another_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", **npz_arrays())
    with pytest.raises(TraceError, match="24 layers of top-4, model tiny 2 of top-4"):
        import_trace(tmp_path / "t.npz", model=SHAPE)


def json_content(steps: int = 3) -> dict[str, Any]:
    layer = {"selected_experts": [3, 1, 2, 0], "selected_probs": [0.4, 0.3, 0.2, 0.1]}
    layers = {f"layer_{layer_index}": layer for layer_index in range(24)}
    return {
        "row_index": 5,
        "dataset": "invented",
        "original_prompt": "Why?",
        "full_text": ["<|start|>", "a", "b", "a"],
        "router_data": [{f"token_{step + 1}": dict(layers)} for step in range(steps)],
    }


def test_json_by_hand(tmp_path: Path) -> None:
    trace = import_trace(write(tmp_path / "t.json", json.dumps(json_content())))
    assert trace.position.tolist() == [1, 2, 3]
    assert trace.token_id is not None
    assert trace.token_id.tolist() == [0, 1, 0]
    assert (trace.experts == [3, 1, 2, 0]).all()
    assert trace.meta.recorded["dataset"] == "invented"


def _rename(step: int, name: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        data = content["router_data"]
        data[step] = {name: next(iter(data[step].values()))}

    return change


def _layer(step: int, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        next(iter(content["router_data"][step].values()))[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rename(1, "tok_2"), "router_data[1]: expected one key token_POSITION"),
        (_rename(2, "token_9"), "row 2: position 9 follows 2"),
        (_layer(1, "layer_24", {}), "router_data[1]: expected 24 layers"),
        (_layer(1, "layer_5", {}), "router_data[1], layer 5: expected selected_experts"),
        (
            _layer(1, "layer_5", {"selected_experts": [1, 2], "selected_probs": [0.5, 0.5]}),
            "router_data[1], layer 5: expected selected_experts",
        ),
        (
            _layer(2, "layer_5", {"selected_experts": [1, 2, 3, 32], "selected_probs": [0.2] * 4}),
            "router_data[2], layer 5: expert 32 out of range 0..31",
        ),
        (
            _layer(2, "layer_5", {"selected_experts": [-1] * 4, "selected_probs": [0.2] * 4}),
            "router_data[2], layer 5: expert -1 out of range 0..31",
        ),
        *(
            (
                _layer(1, "layer_5", {"selected_experts": ids, "selected_probs": shares}),
                "router_data[1], layer 5: expected selected_experts and selected_probs of 4",
            )
            for ids, shares in [
                ([0.9, 1.9, 2.9, 3.9], [0.2] * 4),
                (["0", "1", "2", "3"], [0.2] * 4),
                ([True, 2, 3, 4], [0.2] * 4),
                ([0, 1, 2, 3], 0.25),
                ([0, 1, 2, 3], [0.25]),
                ([0, 1, 2, 3], ["0.1", "0.2", "0.3", "0.4"]),
                (7, [0.2] * 4),
            ]
        ),
        (_layer(1, "layer_5", [1, 2, 3, 4]), "router_data[1], layer 5: expected selected_experts"),
        (_rename(2, "token_99999999999"), "router_data[2]: expected one key token_POSITION"),
        (
            lambda content: content.pop("router_data"),
            "expected an object with a list 'router_data'",
        ),
        (lambda content: content["router_data"].clear(), "the trace has no rows"),
    ],
)
def test_malformed_json(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = json_content()
    change(content)
    path = write(tmp_path / "t.json", json.dumps(content))
    with pytest.raises(TraceError) as caught:
        import_trace(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_json_cut_short(tmp_path: Path) -> None:
    text = json.dumps(json_content(), indent=1)
    path = write(tmp_path / "t.json", text[: len(text) // 2])
    with pytest.raises(TraceError, match=r"t\.json: not JSON: .* at line \d+, "):
        import_trace(path)
    packed = tmp_path / "t.json.gz"
    packed.write_bytes(gzip.compress(text.encode() * 3)[:-20])
    with pytest.raises(TraceError, match=r"t\.json\.gz: cannot be read"):
        import_trace(packed)


def test_unrecognised_content(tmp_path: Path) -> None:
    known = f"known: {', '.join(sorted(FORMATS))}; or write a CSV of request,position,layer,experts"
    for name, content in (("t.csv", "a,b\n1,2\n"), ("t.txt", "nothing")):
        with pytest.raises(TraceError, match=f"not recognised; {known}") as caught:
            import_trace(write(tmp_path / name, content))
        assert len(str(caught.value)) < 400 + len(str(tmp_path))
    for content in ("", "\n"):
        with pytest.raises(TraceError, match=r"empty: is empty$"):
            import_trace(write(tmp_path / "empty", content))
    with pytest.raises(TraceError, match="unknown format 'routetrace'; did you mean 'route_trace'"):
        import_trace(tmp_path / "t.csv", format="routetrace")
    with pytest.raises(TraceError, match="no such file"):
        import_trace(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    with pytest.raises(TraceError, match="a folder without files"):
        import_trace(tmp_path / "folder")
    with pytest.raises(TraceError, match="damaged: File is not a zip file"):
        import_trace(tmp_path / "t.csv", format="gpt-oss-npz")
    path = write(tmp_path / "r.csv", PREAMBLE + ROWS)
    write_trace(tmp_path / "t.parquet", import_trace(path, format="route_trace", model=SHAPE))
    with pytest.raises(TraceError, match="is a trace of this format already: use it as it is"):
        import_trace(tmp_path / "t.parquet")


@RECORDINGS
@pytest.mark.parametrize(
    ("name", "topology", "tokens", "hit_rate", "widest"),
    [
        ("qwen", (48, 128, 6), (28, 128), 0.749, 3_059_712),
        ("gptoss", (36, 128, 2), (85, 64), 0.324, 13_219_200),
    ],
)
def test_phone_recordings(
    name: str,
    topology: tuple[int, int, int],
    tokens: tuple[int, int],
    hit_rate: float,
    widest: int,
) -> None:
    prompt, decode = tokens
    trace = import_trace(PHONE / f"{name}.route.csv")
    assert trace.model.topology == topology
    assert max(trace.model.bytes_per_expert()) == widest
    assert trace.phase.tolist() == [PREFILL] * prompt + [DECODE] * decode
    unrouted = trace.experts[:, :, 0] < 0
    assert unrouted[: prompt - 1, -1].all()
    assert unrouted.sum() == prompt - 1
    # The device's own cumulative figure, to a tenth of a percent.
    assert float(trace.meta.recorded["device_hit_rate"]) == pytest.approx(hit_rate, abs=0.0005)
    slots = sum(1 for line in (PHONE / f"{name}.route.csv").open() if line[0].isdigit())
    assert (trace.experts >= 0).sum() == slots


@RECORDINGS
def test_gpt_oss_recording_through_parquet(tmp_path: Path) -> None:
    source = GPT_OSS / "gpt_oss_20b_decode_routing.npz"
    path = tmp_path / "t.parquet"
    write_trace(path, import_trace(source))
    assert path.stat().st_size < 36e6
    trace = read_trace(path)
    arrays = np.load(source)
    assert trace.token_id is not None
    assert trace.weights is not None
    np.testing.assert_array_equal(trace.experts, arrays["expert_ids"])
    np.testing.assert_array_equal(trace.weights, arrays["expert_probs"])
    np.testing.assert_array_equal(trace.token_id, arrays["token_local_id"])
    np.testing.assert_array_equal(trace.position, arrays["position"])
    offsets = arrays["request_offsets"].tolist()
    assert trace.requests == list(zip(range(703), offsets[:-1], offsets[1:]))


@RECORDINGS
def test_upstream_json_equals_its_request_in_the_npz() -> None:
    arrays = np.load(GPT_OSS / "gpt_oss_20b_decode_routing.npz")
    records = json.loads((GPT_OSS / "requests.json").read_text())
    samples = sorted((GPT_OSS / "raw_samples").glob("*.json.gz"))
    assert samples
    for sample in samples:
        trace = import_trace(sample)
        about = trace.meta.recorded
        request = next(
            index
            for index, record in enumerate(records)
            if record["dataset"] == about["dataset"]
            and record["row_index"] == int(about["row_index"])
        )
        rows = slice(*arrays["request_offsets"][request : request + 2])
        np.testing.assert_array_equal(trace.experts, arrays["expert_ids"][rows])
        np.testing.assert_array_equal(trace.weights, arrays["expert_probs"][rows])
        np.testing.assert_array_equal(trace.position, arrays["position"][rows])
        # Both number the token strings, each in its own way.
        pairs = set(zip(trace.token_id.tolist(), arrays["token_local_id"][rows].tolist()))
        assert len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs})
