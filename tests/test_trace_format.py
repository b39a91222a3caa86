"""The Parquet format: what is written is read, parts grow, and every fault has its one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_support import ROOT, run_cli
from hypothesis import given, settings
from hypothesis import strategies as st

import prefetch_sim.traces.format as trace_format
from prefetch_sim.traces import writer as trace_writer
from prefetch_sim.traces.format import (
    DECODE,
    Prediction,
    PredictionInfo,
    Trace,
    TraceError,
    TraceMeta,
    read_meta,
    read_trace,
    write_trace,
)
from prefetch_sim.traces.info import trace_info
from prefetch_sim.traces.lab.scoring import count_hits
from prefetch_sim.traces.models.catalogue import shape
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec
from prefetch_sim.traces.names import UnknownNameError
from prefetch_sim.traces.parts import META_KEY
from prefetch_sim.traces.validate import validate
from prefetch_sim.traces.writer import TraceWriter

INFO = PredictionInfo(
    trigger="gate_input", distance=1, flops=2.0e6, bytes=4096, description="none: a test"
)


def make_trace(
    *,
    requests: int = 3,
    length: int = 8,
    layers: int = 3,
    experts: int = 16,
    top_k: int = 2,
    named: int = 4,
    unrouted: float = 0.2,
    scores: Any = np.float16,
    seed: int = 0,
) -> Trace:
    """Random and legal, with every optional column."""
    rng = np.random.default_rng(seed)
    rows = requests * length
    model = ModelSpec(
        name="tiny",
        layers=layers,
        hidden=8,
        experts=experts,
        top_k=top_k,
        expert_hidden=4,
        attention=GroupedQueryAttention(heads=2, kv_heads=1, head_dim=4),
        vocab=100,
    )

    def sets(width: int) -> Any:
        order = rng.random((rows, layers, experts)).argsort(axis=2)
        return order[:, :, :width].astype(np.int16)

    routed, weights = sets(top_k), rng.random((rows, layers, top_k)).astype(np.float16)
    absent = rng.random((rows, layers)) < unrouted
    routed[absent], weights[absent] = -1, 0
    guesses = sets(named)
    values = -np.sort(-rng.random((rows, layers, named)), axis=2).astype(scores)
    guesses[:, 0], values[:, 0] = -1, 0
    return Trace(
        path=None,
        meta=TraceMeta(model=model, recorded={"source": "a test"}, predictions={"near": INFO}),
        request_id=np.repeat(np.arange(requests, dtype=np.int32) * 10, length),
        position=np.tile(np.arange(5, 5 + length, dtype=np.int32), requests),
        phase=np.tile((np.arange(length) >= length // 2).astype(np.int8), requests),
        token_id=rng.integers(0, 100, rows).astype(np.int32),
        experts=routed,
        weights=weights,
        predictions={"near": Prediction(INFO, guesses, values)},
    )


def assert_same(one: Trace, other: Trace, rows: slice = slice(None)) -> None:
    """``one`` equals the given rows of ``other``, types included."""
    assert one.meta == other.meta
    pairs = [
        (getattr(one, name), getattr(other, name))
        for name in ("request_id", "position", "phase", "token_id", "experts", "weights")
    ]
    assert one.predictions.keys() == other.predictions.keys()
    for name, prediction in one.predictions.items():
        pairs.append((prediction.experts, other.predictions[name].experts))
        pairs.append((prediction.scores, other.predictions[name].scores))
    for read, written in pairs:
        if written is None:
            assert read is None
        else:
            assert read.dtype == written.dtype
            np.testing.assert_array_equal(read, written[rows])


@settings(max_examples=30, deadline=None)
@given(
    requests=st.integers(1, 4),
    length=st.integers(1, 6),
    layers=st.integers(1, 4),
    experts=st.sampled_from([4, 16, 256, 300]),
    top_k=st.integers(1, 4),
    unrouted=st.sampled_from([0.0, 0.3, 1.0]),
    scores=st.sampled_from([np.float16, np.float32]),
    seed=st.integers(0, 100),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, **shape: Any) -> None:
    trace = make_trace(**shape)
    path = tmp_path_factory.mktemp("trace") / "t.parquet"
    write_trace(path, trace)
    assert_same(read_trace(path), trace)
    assert read_meta(path) == trace.meta


def test_optional_columns_are_optional(tmp_path: Path) -> None:
    full = make_trace()
    bare = replace(
        full,
        meta=TraceMeta(model=full.model),
        token_id=None,
        weights=None,
        predictions={},
    )
    write_trace(tmp_path / "bare.parquet", bare)
    assert_same(read_trace(tmp_path / "bare.parquet"), bare)

    write_trace(tmp_path / "full.parquet", full)
    chosen = read_trace(tmp_path / "full.parquet", weights=False, predictions=())
    assert chosen.weights is None
    assert chosen.predictions == {}
    np.testing.assert_array_equal(chosen.experts, full.experts)


@pytest.mark.parametrize("wanted", [slice(0, 2), slice(3, 9), slice(-2, None), slice(0, 99)])
def test_requests_pick_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: slice
) -> None:
    monkeypatch.setattr(trace_format, "ROW_GROUP", 10)
    trace = make_trace(requests=12, length=7)
    write_trace(tmp_path / "t.parquet", trace)
    first, last, _ = wanted.indices(12)
    read = read_trace(tmp_path / "t.parquet", requests=wanted)
    assert_same(read, trace, slice(first * 7, last * 7))
    assert [request[0] for request in read.requests] == [10 * r for r in range(first, last)]


def test_few_requests_read_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_format, "ROW_GROUP", 8)
    path = tmp_path / "t.parquet"
    write_trace(path, make_trace(requests=6, length=8))
    file = pq.ParquetFile(path)
    leaves = [file.metadata.row_group(5).column(i) for i in range(file.metadata.num_columns)]
    damaged = next(leaf for leaf in leaves if leaf.path_in_schema.startswith("experts"))
    data = bytearray(path.read_bytes())
    at = damaged.dictionary_page_offset or damaged.data_page_offset
    data[at : at + damaged.total_compressed_size] = b"\xff" * damaged.total_compressed_size
    path.write_bytes(data)

    assert read_trace(path, requests=slice(0, 5)).tokens == 40
    with pytest.raises(TraceError, match=r"t\.parquet: damaged"):
        read_trace(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"requests": slice(3, 5)}, "requests 3:5 picks none of its 3 requests"),
        ({"requests": slice(0, 3, 2)}, "without step"),
        ({"predictions": ["naer"]}, "no recorded prediction 'naer'; did you mean 'near'?"),
    ],
)
def test_wrong_wishes(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_trace(tmp_path / "t.parquet", make_trace())
    with pytest.raises(TraceError) as caught:
        read_trace(tmp_path / "t.parquet", **options)
    assert message in str(caught.value)


def test_opens_in_pandas_as_it_is(tmp_path: Path) -> None:
    trace = make_trace()
    write_trace(tmp_path / "t.parquet", trace)
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert list(frame["phase"][:8]) == ["prefill"] * 4 + ["decode"] * 4
    for row in range(trace.tokens):
        for layer, chosen in enumerate(frame["experts"][row]):
            expected = trace.experts[row, layer]
            if expected[0] < 0:
                assert chosen is None
            else:
                assert list(chosen) == list(expected)


def _set(name: str, at: Any, value: Any) -> Callable[[Trace], None]:
    def change(trace: Trace) -> None:
        column = trace
        for part in name.split("."):
            column = column[part] if isinstance(column, dict) else getattr(column, part)
        column[at] = value  # type: ignore[index]

    return change


FAULTS = [
    (_set("experts", (12, 2, 1), 40), "row 12, layer 2: expert 40 out of range 0..15"),
    (_set("experts", (12, 2, 1), -7), "row 12, layer 2: expert -7 out of range 0..15"),
    (_set("experts", (3, 1), [5, 5]), "row 3, layer 1: expert 5 twice in one set"),
    (_set("experts", (3, 1), [5, -1]), "row 3, layer 1: set is partly null"),
    (_set("weights", (7, 0, 1), np.nan), "row 7, layer 0: weight nan"),
    (_set("weights", (7, 0, 1), np.inf), "row 7, layer 0: weight inf"),
    (_set("weights", (7, 0, 0), -0.5), "row 7, layer 0: weight -0.5"),
    (_set("position", 10, 99), "row 10: position 99 follows 6"),
    (_set("position", 10, -1), "row 10: position -1 is negative"),
    (_set("phase", 15, 0), "row 15: prefill after decode within a request"),
    (_set("phase", 15, 2), "row 15: phase 2 is neither"),
    (_set("token_id", 1, -3), "row 1: token_id -3 is negative"),
    (_set("request_id", slice(16, 24), 0), "row 16: request 0 again"),
    (
        _set("predictions.near.experts", (4, 1, 3), 16),
        "row 4, layer 1: prediction 'near': expert 16 out of range 0..15",
    ),
    (
        _set("predictions.near.experts", (4, 1), [1, 2, 3, 1]),
        "row 4, layer 1: prediction 'near': expert 1 twice in one set",
    ),
    (
        _set("predictions.near.scores", (4, 1, 2), np.nan),
        "row 4, layer 1: prediction 'near': score nan is not from 0 to 1",
    ),
    (
        _set("predictions.near.scores", (4, 1), [0.5, 1, 0, 0]),
        "row 4, layer 1: prediction 'near': scores rise",
    ),
]


def test_a_check_leaves_the_trace_as_it_was() -> None:
    """Also where a trace is so small that its slots lie side by side as the check wants them."""
    trace = make_trace(requests=1, length=1, layers=1, unrouted=0)
    trace.experts[0, 0] = [9, 4]
    validate(trace)
    assert trace.experts.tolist() == [[[9, 4]]]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_faults_are_named_in_memory_and_refused_by_the_writer(
    tmp_path: Path, change: Callable[[Trace], None], message: str
) -> None:
    trace = make_trace(unrouted=0)
    validate(trace)
    change(trace)
    with pytest.raises(TraceError) as caught:
        write_trace(tmp_path / "t.parquet", trace)
    assert str(caught.value).startswith(f"trace: {message}")
    assert list(tmp_path.iterdir()) == []


# A negative id wraps in the file's unsigned type, a phase of 2 has no word, a broken set is null.
@pytest.mark.parametrize(
    ("change", "message"),
    [FAULTS[i] for i in (0, 2, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16)],
)
def test_faults_are_found_in_the_part_that_has_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Trace], None],
    message: str,
) -> None:
    good = make_trace(unrouted=0, requests=2, length=10, seed=1)
    good.request_id += 1000
    wrong = make_trace(unrouted=0)
    change(wrong)
    for module in (trace_format, trace_writer):
        monkeypatch.setattr(module, "validate_trace", lambda *_: None)
    with TraceWriter(tmp_path, good.meta, part_rows=1) as writer:
        writer.append(good)
        writer.append(wrong)
    monkeypatch.undo()
    with pytest.raises(TraceError) as caught:
        read_trace(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'part-00001.parquet'}: {message}")
    assert read_trace(tmp_path, requests=slice(0, 2)).tokens == 20
    assert read_trace(tmp_path, validate=False).tokens == 44


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": np.arange(5, dtype=np.int32)}, "position has shape (5,), expected (24,)"),
        ({"experts": np.zeros((24, 2, 2), np.int16)}, "experts has shape (24, 2, 2), expected"),
        ({"request_id": np.zeros(0, np.int32)}, "the trace has no rows"),
    ],
)
def test_wrong_shapes(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TraceError) as caught:
        validate(replace(make_trace(), **change))
    assert message in str(caught.value)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def _meta(value: bytes | None) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({META_KEY: value} if value else {})


def _edit_meta(**change: Any) -> Callable[[pa.Table], pa.Table]:
    def edit(table: pa.Table) -> pa.Table:
        content = json.loads(table.schema.metadata[META_KEY]) | change
        return table.replace_schema_metadata({META_KEY: json.dumps(content).encode()})

    return edit


def _swap(name: str, make: Callable[[pa.Table], Any]) -> Callable[[pa.Table], pa.Table]:
    def swap(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, make(table))

    return swap


def _nested(table: pa.Table, change: Callable[[list[Any]], None], kind: Any) -> Any:
    values = table.column("experts").to_pylist()
    change(values)
    return pa.array(values, kind)


def _null_slot(values: list[Any]) -> None:
    values[6][1][0] = None


def _huge_id(values: list[Any]) -> None:
    values[6][1][0] = 65539


WIDE = pa.list_(pa.list_(pa.int64(), 2), 3)
NULLABLE = pa.list_(pa.list_(pa.uint8(), 2), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_meta(None), "no 'prefetch_sim' metadata: not a routing trace"),
        (_meta(b"{oops"), "metadata is not JSON"),
        (_meta(b"[1]"), "metadata is not a JSON object"),
        (_edit_meta(schema_version=9), "schema version 9, this reader knows 1"),
        (
            _edit_meta(predictors={}),
            "metadata: predictors: unknown key; did you mean",
        ),
        (lambda table: table.drop(["position"]), "no column 'position'"),
        (lambda table: table.drop(["experts"]), "no column 'experts'"),
        (lambda table: table.drop(["prediction.near.scores"]), "'prediction.near.scores'"),
        (_swap("experts", lambda table: table["position"]), "column experts: has type int32"),
        (_swap("experts", lambda table: table["prediction.near.experts"]), "has top-4, the model"),
        (
            _swap("experts", lambda t: _nested(t, lambda v: None, pa.list_(NULLABLE.value_type))),
            "column experts: has type list<",
        ),
        (
            _swap("experts", lambda table: _nested(table, _null_slot, NULLABLE)),
            "row 6, layer 1: set is partly null",
        ),
        (
            _swap("experts", lambda table: _nested(table, _huge_id, WIDE)),
            "column experts: Integer value 65539 not in range",
        ),
        (
            _swap("experts", lambda table: table["weights"]),
            "column experts: holds halffloat, expected integers",
        ),
        (
            _swap("prediction.near.scores", lambda table: table["weights"]),
            "prediction 'near': 4 experts, 2 scores",
        ),
        (
            _swap("weights", lambda t: pa.nulls(t.num_rows, t["weights"].type)),
            "column weights: row 0 is null",
        ),
        (_swap("phase", lambda t: pa.array(["warm"] * t.num_rows)), "row 0 is warm, expected one"),
        (_swap("position", lambda t: pa.nulls(t.num_rows, pa.int32())), "position: row 0 is null"),
        (_swap("position", lambda t: pa.array(["x"] * t.num_rows)), "column position: "),
    ],
)
def test_foreign_files(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    path = tmp_path / "t.parquet"
    write_trace(path, make_trace(unrouted=0))
    rewrite(path, change)
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.999])
def test_truncated_files(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "t.parquet"
    write_trace(path, make_trace())
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 1 or not keep else keep * len(data))])
    with pytest.raises(TraceError, match="not a complete Parquet file") as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such file or folder"):
        read_trace(tmp_path / "absent.parquet")
    with pytest.raises(TraceError, match="a folder without part files"):
        read_trace(tmp_path)


def test_parts_are_readable_while_they_grow(tmp_path: Path) -> None:
    trace = make_trace(requests=6)
    write_trace(tmp_path / "whole.parquet", trace)
    folder = tmp_path / "growing"
    writer = TraceWriter(folder, trace.meta, part_rows=16)
    for request in range(6):
        whole = read_trace(tmp_path / "whole.parquet", requests=slice(request, request + 1))
        writer.append(whole)
        written = (request + 1) // 2 * 16
        if written:
            assert_same(read_trace(folder), trace, slice(0, written))
    writer.close()
    assert sorted(path.name for path in folder.iterdir()) == [
        f"part-0000{part}.parquet" for part in range(3)
    ]
    assert_same(read_trace(folder), trace)
    assert_same(read_trace(folder, requests=slice(1, 3)), trace, slice(8, 24))


def test_a_crash_costs_only_the_part_in_hand(tmp_path: Path) -> None:
    trace = make_trace(requests=2)
    later = make_trace(requests=1, seed=3)
    later.request_id += 77
    crashed = TraceWriter(tmp_path, trace.meta, part_rows=16)
    crashed.append(trace)
    crashed.append(later)
    del crashed  # never closed
    (tmp_path / ".part-00001.parquet.123.tmp").write_bytes(b"PAR1 half a part")
    assert_same(read_trace(tmp_path), trace)
    with TraceWriter(tmp_path, trace.meta) as writer:
        writer.append(later)
    assert [request[0] for request in read_trace(tmp_path).requests] == [0, 10, 77]


def rows(trace: Trace, chosen: slice) -> Trace:
    """Some rows of a trace with every optional column."""
    assert trace.token_id is not None
    assert trace.weights is not None
    return replace(
        trace,
        request_id=trace.request_id[chosen],
        position=trace.position[chosen],
        phase=trace.phase[chosen],
        token_id=trace.token_id[chosen],
        experts=trace.experts[chosen],
        weights=trace.weights[chosen],
        predictions={
            name: Prediction(p.info, p.experts[chosen], p.scores[chosen])
            for name, p in trace.predictions.items()
        },
    )


def _narrow(batch: Trace) -> Trace:
    near = batch.predictions["near"]
    return replace(
        batch,
        predictions={"near": Prediction(INFO, near.experts[..., :3], near.scores[..., :3])},
    )


def _wide_scores(batch: Trace) -> Trace:
    near = batch.predictions["near"]
    scores = near.scores.astype(np.float32)
    return replace(batch, predictions={"near": Prediction(INFO, near.experts, scores)})


# What cannot follow the first 12 rows (request 0, and 4 rows of request 10), made of the next 4.
UNFIT: list[tuple[Callable[[Trace], Trace], str]] = [
    (lambda b: replace(b, experts=b.experts + 90), "row 0, layer 0: expert"),
    (lambda b: replace(b, position=b.position + 1), "position 10 follows 8 of request 10"),
    (lambda b: replace(b, phase=b.phase * 0), "prefill after decode within request 10"),
    (lambda b: replace(b, request_id=b.request_id * 0), "request 0 again"),
    (lambda b: replace(b, token_id=None), "column token_id is not like that of earlier batches"),
    (lambda b: replace(b, weights=None), "column weights is not like that of earlier batches"),
    (lambda b: replace(b, predictions={}), "metadata and columns disagree on prediction 'near'"),
    (_narrow, "column prediction.near is not like that of earlier batches"),
    (_wide_scores, "column prediction.near is not like that of earlier batches"),
]


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(("change", "message"), UNFIT)
def test_a_batch_that_cannot_follow_is_refused_and_costs_no_other(
    tmp_path: Path, change: Callable[[Trace], Trace], message: str, resumed: bool
) -> None:
    trace = make_trace(unrouted=0)
    trace.phase[8:] = DECODE
    writer = TraceWriter(tmp_path, trace.meta)
    writer.append(rows(trace, slice(0, 12)))
    if resumed:
        writer.close()
        writer = TraceWriter(tmp_path, trace.meta)
    assert writer.last == (10, 8, DECODE)
    with pytest.raises(TraceError) as caught:
        writer.append(change(rows(trace, slice(12, 16))))
    assert str(caught.value).startswith(f"{tmp_path}: {message}")
    assert writer.last == (10, 8, DECODE)
    writer.append(rows(trace, slice(12, 24)))
    writer.close()
    assert_same(read_trace(tmp_path), trace)


def test_a_capture_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    trace = make_trace()
    assert TraceWriter(tmp_path, trace.meta).last is None
    for start in range(0, 24, 5):
        with TraceWriter(tmp_path, trace.meta, part_rows=2) as writer:
            writer.append(rows(trace, slice(start, start + 5)))
            end = min(start + 5, 24) - 1
            assert writer.last == (trace.request_id[end], trace.position[end], trace.phase[end])
    assert_same(read_trace(tmp_path), trace)


def test_parts_must_belong_together(tmp_path: Path) -> None:
    trace = make_trace()
    other = trace.meta.model_copy(update={"recorded": {"source": "elsewhere"}})
    with TraceWriter(tmp_path, trace.meta) as writer:
        writer.append(trace)
    with pytest.raises(TraceError, match="source was 'a test', is 'elsewhere'; use another folder"):
        TraceWriter(tmp_path, other)
    named = trace.model.model_copy(update={"name": "m1"})
    for model, message in (
        (named, rf"another trace: model {trace.model.name}, not m1; use another folder \(-o\)"),
        (named.model_copy(update={"hidden": 999}), "not m1; they differ in hidden; use another"),
    ):
        with pytest.raises(TraceError, match=message):
            TraceWriter(tmp_path, trace.meta.model_copy(update={"model": model}))
    write_trace(tmp_path / "part-00002.parquet", trace)
    with pytest.raises(TraceError, match=r"part-00001\.parquet is missing"):
        read_trace(tmp_path)
    write_trace(tmp_path / "part-00001.parquet", replace(trace, meta=other))
    with pytest.raises(TraceError, match=r"part-00001\.parquet: its metadata"):
        read_trace(tmp_path)


def test_a_prediction_without_metadata_is_refused(tmp_path: Path) -> None:
    trace = make_trace()
    with pytest.raises(TraceError, match="disagree on prediction 'near'"):
        write_trace(tmp_path / "t.parquet", replace(trace, predictions={}))
    with pytest.raises(ValueError, match="use letters, digits"):
        TraceMeta(model=trace.model, predictions={"a.b": INFO})


def test_a_prediction_that_the_metadata_does_not_describe_is_told(tmp_path: Path) -> None:
    """Written beside the routing by another tool; the page that is named says what makes it one."""
    trace = make_trace()
    for path, known in ((tmp_path / "some.parquet", trace), (tmp_path / "t.parquet", None)):
        bare = replace(trace, predictions={}, meta=TraceMeta(model=trace.model))
        write_trace(path, known or bare)
        table = pq.read_table(path)
        table = table.append_column("prediction.mine.experts", table.column("experts"))
        table = table.append_column("prediction.mine.scores", table.column("weights"))
        pq.write_table(table, path)
    says = "prediction.mine.experts is ignored: the file's metadata has no predictions.mine under"
    good = run_cli("trace", "validate", path)
    assert good.code == 0
    assert says in good.out
    none = run_cli("trace", "score", path)
    assert (none.code, none.err.startswith(f"error: {path}: {says}")) == (2, True), none.err
    some = run_cli("trace", "score", tmp_path / "some.parquet")
    assert (some.code, says in some.err) == (0, True), some.err
    page = (ROOT / "docs" / "trace-format.md").read_text()
    described = json.loads(page.split("```json", 1)[1].split("```", 1)[0])
    about = json.loads(pq.read_schema(path).metadata[META_KEY]) | described
    pq.write_table(table.replace_schema_metadata({META_KEY: json.dumps(about)}), path)
    mine = read_trace(path, validate=False).predictions["mine"]
    assert mine.info.distance == 1


def test_score_by_hand() -> None:
    trace = make_trace(requests=1, length=3, unrouted=0)
    trace.experts[:, 1] = [[0, 1], [2, 3], [4, 5]]
    trace.predictions["near"].experts[:, 1] = [[1, 0, 9, 8], [2, 9, 3, 8], [-1, -1, -1, -1]]
    hits = count_hits(trace, "near")
    assert (hits.by_layer("slots", 2)[1], hits.by_layer("exact", 2)[1]) == (0.75, 0.5)
    assert np.isnan(hits.by_layer("slots", 2)[0])
    assert hits.pooled("exact", 2, [0, 1]) == 0.5
    assert np.isnan(hits.pooled("exact", 2, [0]))
    assert hits.by_layer("exact", 3)[1] == 1.0
    assert hits.by_layer("exact", 2, "decode")[1] == 0.0
    with pytest.raises(TraceError, match="did you mean 'near'"):
        count_hits(trace, "nearr")


def test_info_by_hand() -> None:
    trace = make_trace(requests=2, length=4, layers=1, experts=4, unrouted=0)
    trace.phase[:] = [0, 1, 1, 1] * 2
    # Reuse counts rows 2, 3, 6 and 7: 1, 0, 1/2 and 1/2 of the two experts.
    trace.experts[:, 0] = [[0, 1], [0, 1], [1, 0], [2, 3], [0, 1], [0, 1], [1, 2], [1, 3]]
    info = trace_info(trace)
    assert info["reuse"] == {"mean": 0.5, "by_layer": [0.5]}
    # Uses: 5, 7, 2, 2 of 16. Sorted 2, 2, 5, 7 with ranks -3, -1, 1, 3: 18 / (4 * 16).
    assert info["gini"]["mean"] == pytest.approx(18 / 64)
    assert info["top_tenth_share"]["mean"] == pytest.approx(7 / 16)
    shares = np.array([5, 7, 2, 2]) / 16
    entropy = -(shares * np.log(shares)).sum() / np.log(4)
    assert info["routing_entropy"]["mean"] == pytest.approx(entropy, abs=1e-6)
    assert info["tokens"] == {"all": 8, "prefill": 2, "decode": 6, "unrouted": 0}
    assert info["predictions"]["near"]["layer0_slot_recall"] is None
    assert json.loads(json.dumps(info)) == info


def test_info_of_a_layer_that_never_routes() -> None:
    trace = make_trace(layers=2)
    trace.experts[:, 1] = -1
    info = trace_info(trace)
    for key in ("reuse", "gini", "top_tenth_share", "routing_entropy"):
        assert info[key]["by_layer"][1] is None
        assert info[key]["mean"] == info[key]["by_layer"][0]


def test_from_arrays_takes_a_model_by_name_or_folder(tmp_path: Path) -> None:
    layers, experts, k = shape("qwen3-30b-a3b").topology
    routed = np.broadcast_to(np.arange(k), (4, layers, k))
    named = Trace.from_arrays("Qwen/Qwen3-30B-A3B", routed)
    assert named.model == shape("Qwen3-30B-A3B") == shape("qwen3-30b-a3b")
    assert repr(named) == (
        f"Trace(qwen3-30b-a3b, {layers} MoE layers x {experts} experts, top-{k}; 1 requests, "
        "4 tokens)"
    )
    config = {"model_type": "qwen3_moe", "num_hidden_layers": layers, "num_experts_per_tok": k}
    config |= {"num_experts": experts, "hidden_size": 64, "moe_intermediate_size": 32}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100}
    (tmp_path / "m0").mkdir()
    (tmp_path / "m0" / "config.json").write_text(json.dumps(config))
    assert Trace.from_arrays(str(tmp_path / "m0"), routed).model.name == "m0"
    assert Trace.from_arrays(tmp_path / "m0", routed).model.hidden == 64
    for wrong, message in (
        ("qwen3-30b-a3c", "trace: unknown model 'qwen3-30b-a3c'; did you mean 'qwen3-30b-a3b'"),
        (str(tmp_path / "m1"), "has a config.json"),
        (tmp_path / "m1.gguf", "no such file"),
        (7, "trace: model is a int, expected a name or a spec"),
    ):
        with pytest.raises(TraceError) as told:
            Trace.from_arrays(wrong, routed)  # type: ignore[arg-type]
        assert message in str(told.value)
    with pytest.raises(UnknownNameError, match="unknown model 'm0'"):
        shape("m0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": 200}, "trace: request 0 has 6 rows, its prompt 200"),
        ({"prompt": -1}, "trace: request 0 has 6 rows, its prompt -1"),
        (
            {"prompt": [3, 4], "requests": ["a"] * 3 + ["b"] * 3},
            "trace: request 'b' has 3 rows, its prompt 4",
        ),
        ({"experts": (2, 1, 0, 9)}, "trace: row 2, layer 1: expert 9 out of range 0..7"),
        ({"experts": (2, 1, 0, -1)}, "trace: row 2, layer 1: set is partly null"),
        ({"experts": (2, 1, 0, 1)}, "trace: row 2, layer 1: expert 1 twice in one set"),
        (
            {"predictions": [([], [], "gate_input", 1)]},
            "trace: predictions is a list, expected a mapping of names to (experts, scores, "
            "trigger, distance)",
        ),
        *(
            (
                {"predictions": {name: ([], [], "gate_input", 1)}},
                f"trace: prediction {name!r}: configs mean another by that; rename it",
            )
            for name in ("none", "oracle", "recorded")
        ),
    ],
)
def test_from_arrays_checks_at_once(change: dict[str, Any], message: str) -> None:
    spec = shape("mixtral-8x7b")
    routed = np.broadcast_to(np.arange(2), (6, spec.moe_layers, 2)).copy()
    if "experts" in change:
        row, layer, slot, expert = change.pop("experts")
        routed[row, layer, slot] = expert
    with pytest.raises(TraceError) as told:
        Trace.from_arrays(spec, routed, **change)
    assert str(told.value) == message


def test_what_is_no_trace_yet_says_what_makes_one(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("request,position,layer,experts\n0,0,0,1 2\n")
    with pytest.raises(TraceError, match=r"import it first: prefetch-sim trace import .*mine\.csv"):
        read_trace(table)
    (tmp_path / "m0").mkdir()
    (tmp_path / "m0" / "config.json").write_text("{}")
    with pytest.raises(TraceError, match="a model's folder, not a trace; capture one first"):
        read_trace(tmp_path / "m0")
