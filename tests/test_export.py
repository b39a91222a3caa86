"""Exports: libCacheSim's oracleGeneral, read back by hand and by libCacheSim itself."""

from __future__ import annotations

import struct
from collections import OrderedDict
from pathlib import Path

import libcachesim as lcs
import numpy as np
import pytest
from cli_support import MODEL, call, small_trace
from hypothesis import given
from hypothesis import strategies as st

from prefetch_sim.traces.exporters import export_trace
from prefetch_sim.traces.exporters.oracle_general import next_accesses
from prefetch_sim.traces.format import Trace, TraceError
from prefetch_sim.traces.importers.known_models import QWEN3_30B_A3B
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.synthetic import synthesise

# Experts of the two layers differ in size.
SIZES = ModelSpec.model_validate(MODEL.model_dump() | {"layers": 2, "expert_bytes": (300, 500)})
THEIRS = {"lru": lcs.LRU, "belady": lcs.Belady}


def sample(model: ModelSpec = MODEL, decode: int = 60) -> Trace:
    """Some layers of some tokens do not route."""
    trace = synthesise(model, requests=3, prompt=4, decode=decode, skew=0.8, reuse=0.4, seed=2)
    trace.experts[1::7, 1] = -1
    return trace


def accesses(trace: Trace) -> list[tuple[int, int, int]]:
    """(row, flat expert, bytes) of each, one by one."""
    sizes = trace.model.bytes_per_expert()
    return [
        (row, layer * trace.model.experts + expert, sizes[layer])
        for row, sets in enumerate(trace.experts.tolist())
        for layer, experts in enumerate(sets)
        for expert in experts
        if expert >= 0
    ]


def test_every_record_by_hand(tmp_path: Path) -> None:
    trace = sample(SIZES, decode=10)
    path = tmp_path / "t.oracleGeneral"
    export_trace(path, trace, "oracle-general")
    records = list(struct.iter_unpack("<IQIq", path.read_bytes()))
    assert [record[:3] for record in records] == accesses(trace)
    ids = [record[1] for record in records]
    assert {record[2] for record in records} == {300, 500}
    for i, (*_, following) in enumerate(records):
        later = [j for j in range(i + 1, len(ids)) if ids[j] == ids[i]]
        assert following == (later[0] if later else -1)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_the_next_access_of_each(ids: list[int]) -> None:
    found = next_accesses(np.array(ids, np.int64)).tolist()
    for i, following in enumerate(found):
        assert following == (ids.index(ids[i], i + 1) if ids[i] in ids[i + 1 :] else -1)


def misses(trace: Trace, policy: str, capacity: int) -> int:
    """Of experts of one size, in the plainest way."""
    ids = [flat for _, flat, _ in accesses(trace)]
    cache: OrderedDict[int, None] = OrderedDict()
    missed = 0
    for i, flat in enumerate(ids):
        if flat in cache:
            cache.move_to_end(flat)
            continue
        missed += 1
        if len(cache) == capacity:
            victim = next(iter(cache))
            if policy == "belady":
                rest = ids[i:]
                victim = max(cache, key=lambda x: rest.index(x) if x in rest else len(rest))
            del cache[victim]
        cache[flat] = None
    return missed


@pytest.mark.parametrize("policy", THEIRS)
def test_libcachesim_misses_as_often(policy: str, tmp_path: Path) -> None:
    """With room for so many experts, and for as many bytes."""
    trace = sample()
    path = tmp_path / "t.oracleGeneral"
    export_trace(path, trace, "oracle-general")
    total, size = len(accesses(trace)), MODEL.bytes_per_expert()[0]
    for experts in (3, 8, 20):
        ours = misses(trace, policy, experts)
        for ignore, capacity in ((True, experts), (False, experts * size)):
            reader = lcs.TraceReader(
                str(path),
                lcs.TraceType.ORACLE_GENERAL_TRACE,
                lcs.ReaderInitParam(ignore_obj_size=ignore),
            )
            by_access, by_byte = THEIRS[policy](capacity).process_trace(reader)
            assert (round(by_access * total), round(by_byte * total)) == (ours, ours)
    assert ours < total, "room for most of them must give hits"


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "t.oracleGeneral"
    path.write_bytes(b"before")
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        export_trace(path, sample(), "oracle-general")
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with pytest.raises(TraceError, match="unknown format 'oracle'; did you mean 'oracle-general'"):
        export_trace(path, sample(), "oracle")
    huge = {"layers": 1, "expert_bytes": (2**32,)}
    model = ModelSpec.model_validate(QWEN3_30B_A3B.model_dump() | huge)
    trace = synthesise(model, requests=1, prompt=0, decode=2, skew=0.5, reuse=0.3, seed=1)
    with pytest.raises(TraceError, match="an expert of 4294967296 bytes; the format ends at 4 GiB"):
        export_trace(path, trace, "oracle-general")
    assert not list(tmp_path.iterdir())


def test_by_command(tmp_path: Path) -> None:
    trace = small_trace(tmp_path / "t.parquet")
    done = call("trace", "export", "t.parquet", "-o", "t.bin", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "t.bin: 288 routed experts, tiny\n"
    named = ("--format", "oracle-general")
    again = call("trace", "export", "t.parquet", "-o", "u.bin", *named, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    content = (tmp_path / "t.bin").read_bytes()
    assert (tmp_path / "u.bin").read_bytes() == content
    assert [record[:3] for record in struct.iter_unpack("<IQIq", content)] == accesses(trace)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x.parquet", "-o", "t.bin"), "trace: no file or sample 'x.parquet'"),
        (("t.parquet", "-o", "t.parquet"), "--out: t.parquet is what is read"),
        (("t.parquet", "-o", "no/t.bin"), "--out: no is no folder"),
        (("t.parquet", "-o", "t.bin", "--format", "csv"), "unknown format 'csv'; known: oracle"),
    ],
)
def test_refused_by_command(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    small_trace(tmp_path / "t.parquet")
    done = call("trace", "export", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]
