"""Kinds that several readers have in common: names that are one, bombs, checksums, ragged lists."""

from __future__ import annotations

import base64
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import SHAPE, WRITERS, make_trace, write_flame, write_parquet

from prefetch_sim.traces.arrays import read_npz
from prefetch_sim.traces.format import Trace, TraceError, read_trace, write_trace
from prefetch_sim.traces.importers import import_trace
from prefetch_sim.traces.models.hf_config import ModelConfigError, read_hf_config
from prefetch_sim.traces.parts import open_parquet
from prefetch_sim.traces.validate import validate

TRACE = make_trace(SHAPE, [(0, 4)], seed=5)


def refused(path: Path, message: str, **how: Any) -> None:
    with pytest.raises(TraceError) as told:
        import_trace(path, **({"model": SHAPE} | how))
    assert message in str(told.value)
    assert "\n" not in str(told.value)


# Names that are one


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    """Of an npz: the second would replace the first, without a word."""
    buffer = io.BytesIO()
    np.save(buffer, TRACE.experts)
    for names in (("routed_experts.npy", "routed_experts"), ("routed_experts.npy",) * 2):
        with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
            for name in names:
                archive.writestr(name, buffer.getvalue())
        refused(tmp_path / "t.npz", "'routed_experts' is there twice")
        with pytest.raises(TraceError, match="'routed_experts' is there twice"):
            read_npz(tmp_path / "t.npz")


def test_two_tensors_of_one_iteration_and_layer_are_refused(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    sets = np.array([[0, 1]], np.int32)
    names = {"0_1": sets, "0_01": sets, "0_2": sets}
    numpy.save_file(names, tmp_path / "rank0_raw.safetensors")
    refused(tmp_path / "rank0_raw.safetensors", "iteration 0: layer 1 is there twice")


def test_two_files_of_one_layer_are_refused(tmp_path: Path) -> None:
    write_flame(tmp_path / "iter_1", TRACE)
    one = tmp_path / "iter_1/layer_01.parquet"
    (tmp_path / "iter_1/layer_1.parquet").write_bytes(one.read_bytes())
    refused(tmp_path / "iter_1", "layer_01.parquet and layer_1.parquet are one layer")


# Passes


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        # Layers that rise from one iteration to the next are no one pass.
        ({"0_1": 1, "1_2": 1}, "no experts of layer"),
        ({"0_1": 2, "0_2": 2, "1_1": 0, "1_2": 1}, "iteration 1: 0 tokens, other layers of the"),
    ],
)
def test_an_iteration_is_a_pass(keys: dict[str, int], message: str, tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    sets = np.array([[0, 1], [2, 3]], np.int32)
    numpy.save_file({key: sets[:n] for key, n in keys.items()}, tmp_path / "r")
    refused(tmp_path / "r", message, format="tensorrt-llm")


def test_an_iteration_without_tokens_is_left_out(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    sets = np.array([[0, 1], [2, 3]], np.int32)
    keys = {"0_1": 2, "0_2": 2, "3_1": 0, "3_2": 0, "7_1": 1, "7_2": 1}
    numpy.save_file({key: sets[:n] for key, n in keys.items()}, tmp_path / "r")
    assert import_trace(tmp_path / "r", model=SHAPE).requests == [(0, 0, 3)]


# What is measured before it is unpacked


def zipped(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def npy(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    header = {"descr": "<i2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + content


@pytest.mark.parametrize(
    ("name", "file"), [("vllm", "routed_experts.npy"), ("sglang-recorder", "archive/data.pkl")]
)
def test_archives_that_unpack_to_far_more_are_refused(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("prefetch_sim.traces.arrays.FLOOR", 1 << 10)
    tokens = 1 << 16
    content = npy((tokens, 2, 2), bytes(8 * tokens))
    refused(zipped(tmp_path / "t", file, content), "unpacks to 524,", format=name)


def test_an_array_is_no_larger_than_its_file(tmp_path: Path) -> None:
    """In an npz, an npy and base64, whatever the header speaks of."""
    speaks = npy((10**12, 2, 2), b"\0" * 8)
    refused(zipped(tmp_path / "t.npz", "routed_experts.npy", speaks), "an array of 8,000,000,000")
    (tmp_path / "t.npy").write_bytes(speaks)
    refused(tmp_path / "t.npy", "its header speaks of 8,000,000,000,000 bytes, it has 8")
    told = {"prompt_tokens": 2, "routed_experts": base64.b64encode(speaks).decode()}
    (tmp_path / "t.json").write_text(json.dumps({"meta_info": told}))
    refused(tmp_path / "t.json", "routed_experts is not base64 of an array")


def equal(path: Path, rows: int, **columns: Any) -> Path:
    """A Parquet file of ``rows`` equal rows."""
    table = pa.table({name: pa.array([value] * rows) for name, value in columns.items()})
    pq.write_table(table, path)
    return path


def test_tables_of_equal_rows_are_measured_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefetch_sim.traces.parts.FLOOR", 1 << 10)
    rows = equal(tmp_path / "t", 200_000, request_id=1, position=2, experts=[[1, 2], [1, 2]])
    refused(rows, "more than ", format="parquet")
    (tmp_path / "iter").mkdir()
    for layer in (1, 2):
        name = f"iter/layer_{layer}.parquet"
        equal(tmp_path / name, 200_000, indices=[1, 2], scores=[0.5, 0.5])
    refused(tmp_path / "iter", "layer_1.parquet: unpacks to ")


def test_checksums_of_pages_are_checked_by_all_readers_of_parquet(tmp_path: Path) -> None:
    """A byte of a page is flipped: another number, were it not for the checksum."""
    column = pa.array(np.arange(1000, dtype=np.int64))
    how: dict[str, Any] = {"compression": "none", "use_dictionary": False}
    pq.write_table(pa.table({"x": column}), tmp_path / "t", write_page_checksum=True, **how)
    content = bytearray((tmp_path / "t").read_bytes())
    content[content.index((500).to_bytes(8, "little"))] ^= 1
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        open_parquet(tmp_path / "t").read()


# Names of requests, and of folders


@pytest.mark.parametrize("ids", [["b", "a"], [2**40, 7], [-1, 5], ["cmpl-é", "日本"]])
def test_parquet_has_requests_of_any_name(ids: list[Any], tmp_path: Path) -> None:
    trace = make_trace(SHAPE, [(0, 2), (0, 3)], seed=1)
    write_parquet(tmp_path / "t", trace)
    table = pq.read_table(tmp_path / "t")
    names = pa.array([ids[request] for request in trace.request_id.tolist()])
    at = table.schema.get_field_index("request_id")
    pq.write_table(table.set_column(at, "request_id", names), tmp_path / "t")
    read = import_trace(tmp_path / "t", model=SHAPE)
    assert read.requests == trace.requests
    np.testing.assert_array_equal(read.experts, trace.experts)
    assert read.meta.recorded["notes"] == "requests numbered in order of first use"


@pytest.mark.parametrize("named", [".", "../iter_7", "iter_7"])
def test_a_folder_may_be_named_as_one_likes(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "actives").mkdir()
    (tmp_path / "samples").mkdir()
    write_flame(tmp_path / "actives/iter_7", TRACE)
    ids = pa.array(range(4), pa.int32())
    pq.write_table(pa.table({"token_id": ids}), tmp_path / "samples/a.parquet")
    inside = tmp_path / "actives" if named == "iter_7" else tmp_path / "actives/iter_7"
    monkeypatch.chdir(inside)
    trace = import_trace(named, model=SHAPE)
    assert trace.token_id is not None
    assert trace.token_id.tolist() == [0, 1, 2, 3]
    assert trace.meta.recorded["source"] == "iter_7"


# Configs and arrays


def test_texts_in_texts_end(tmp_path: Path) -> None:
    config: dict[str, Any] = {"model_type": "qwen3_moe"}
    for _ in range(900):
        config = {"model_type": "x", "text_config": config}
    with pytest.raises(ModelConfigError, match="text_config: more than 4 in each other"):
        read_hf_config(config)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"experts": [[[0, 1]], [[0, 1], [2, 3]]]}, "experts is no array: lists in it differ in"),
        ({"experts": [[["a", "b"]] * 2]}, "experts is <U1, expected whole numbers"),
        ({"requests": [[1], [2, 3]]}, "requests is no array: lists in it differ in length"),
        ({"weights": [[[0.5, 0.5]], []]}, "weights is no array: lists in it differ in length"),
        ({"weights": [[["a", "b"]] * 2] * 2}, "weights is <U1, expected numbers"),
        ({"token_id": [1, [2]]}, "token_id is no array: lists in it differ in length"),
        ({"prompt": 0.5}, "prompt is float64, expected whole numbers"),
        ({"prompt": [1, [2]]}, "prompt is no array: lists in it differ in length"),
    ],
)
def test_lists_that_are_no_arrays_are_one_line(given: dict[str, Any], message: str) -> None:
    experts = given.pop("experts", [[[0, 1], [2, 3]]] * 2)
    with pytest.raises(TraceError) as told:
        Trace.from_arrays(SHAPE, experts, **given)
    assert str(told.value).startswith(f"trace: {message}")
    assert isinstance(told.value, ValueError)


def test_weights_beyond_sixteen_bits_name_their_row() -> None:
    trace = Trace.from_arrays(SHAPE, [[[0, 1], [2, 3]]], weights=[[[1e9, 0.5], [0.5, 0.5]]])
    with pytest.raises(TraceError, match="row 0, layer 0: weight inf"):
        validate(trace)


# Packages that are not there


@pytest.mark.parametrize(
    ("name", "module"), [("sglang-recorder", "torch"), ("tensorrt-llm", "safetensors.numpy")]
)
def test_a_package_that_is_missing_is_named(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(module)
    WRITERS[name](tmp_path / "t", TRACE)
    monkeypatch.setitem(sys.modules, module, None)
    package = module.split(".", maxsplit=1)[0]
    refused(tmp_path / "t", f"needs {package}: pip install -e '.[capture]' in the clone")


def test_traces_of_this_format_still_open(tmp_path: Path) -> None:
    write_trace(tmp_path / "t.parquet", TRACE)
    np.testing.assert_array_equal(read_trace(tmp_path / "t.parquet").experts, TRACE.experts)
