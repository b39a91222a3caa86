"""Residency against libCacheSim: the same accesses, one at a time, give the same miss counts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import libcachesim as lcs
import numpy as np
import numpy.typing as npt
import pytest
from harness import replay

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.workload.future import Future
from prefetch_sim.traces.exporters.oracle_general import write_accesses
from prefetch_sim.traces.importers import import_trace
from prefetch_sim.traces.synthetic import synthesise

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RECORDINGS = {
    "qwen": "big-moe-on-edge/qwen.route.csv",
    "gptoss": "big-moe-on-edge/gptoss.route.csv",
    "gpt-oss-20b": "gpt-oss-20b/gpt_oss_20b_decode_routing.npz",
}
ACCESSES = 60_000  # of each recording: a slice that takes seconds
THEIRS = {"fifo": lcs.FIFO, "lru": lcs.LRU, "belady": lcs.Belady, "s3-fifo": lcs.S3FIFO}
Accesses = npt.NDArray[np.int64]


@cache
def accesses_of(name: str) -> Accesses:
    """Flat expert ids in the order of rows, layers and ranks."""
    if name == "synthetic":
        trace = synthesise(
            load_model("olmoe-1b-7b"),
            requests=3, prompt=10, decode=150, skew=0.8, reuse=0.4, seed=5,
        )  # fmt: skip
    else:
        path = DATA / RECORDINGS[name]
        if not path.exists():
            pytest.skip(f"no recording at {path}")
        trace = import_trace(path)
    experts = trace.experts[: ACCESSES // (trace.model.moe_layers * trace.model.top_k)]
    flat = experts + np.arange(experts.shape[1])[:, None] * trace.model.experts
    return flat[experts >= 0].astype(np.int64)


def their_misses(ids: Accesses, policy: str, capacity: int, folder: Path) -> int:
    """Their Belady is right only with the format that holds each request's next access."""
    path = folder / "accesses.oracleGeneral"
    write_accesses(path, ids)
    reader = lcs.TraceReader(
        str(path), lcs.TraceType.ORACLE_GENERAL_TRACE, lcs.ReaderInitParam(ignore_obj_size=True)
    )
    ratio: float
    ratio, _ = THEIRS[policy](capacity).process_trace(reader)
    return round(ratio * len(ids))


def our_misses(ids: Accesses, policy: str, capacity: int) -> int:
    total = int(ids.max()) + 1
    order = np.argsort(ids, kind="stable")
    start = np.searchsorted(ids[order], np.arange(total + 1))
    future = Future(order, start.tolist(), start[:-1].tolist())
    eviction = registry.find("eviction", policy)
    tier = Tier([1] * total, [capacity], [0] * total, 1, eviction, future=future)
    return sum(replay(tier, ((i, (x,)) for i, x in enumerate(ids.tolist()))))


@pytest.mark.parametrize("policy", ["fifo", "lru", "belady"])
@pytest.mark.parametrize("name", ["synthetic", *RECORDINGS])
def test_same_misses(name: str, policy: str, tmp_path: Path) -> None:
    ids = accesses_of(name)
    distinct = len(np.unique(ids))
    for capacity in (distinct // 20, distinct // 4, distinct * 3 // 4):
        ours = our_misses(ids, policy, capacity)
        theirs = their_misses(ids, policy, capacity, tmp_path)
        assert ours == theirs, f"{policy} with room for {capacity} of {distinct}"
    assert distinct <= theirs < len(ids), "room for most of them must give hits"


@pytest.mark.parametrize("name", ["synthetic", *RECORDINGS])
def test_s3_fifo_misses_as_often(name: str, tmp_path: Path) -> None:
    """Nearly: theirs looks in the ghost before it makes room, ours when the expert arrives."""
    ids = accesses_of(name)
    distinct = len(np.unique(ids))
    for capacity in (distinct // 20, distinct // 4, distinct * 3 // 4):
        ours = our_misses(ids, "s3-fifo", capacity)
        theirs = their_misses(ids, "s3-fifo", capacity, tmp_path)
        assert ours == pytest.approx(theirs, rel=0.01), f"room for {capacity} of {distinct}"
