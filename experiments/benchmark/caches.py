"""The compiled engine, which simulates time, against libCacheSim, which only counts misses.

libCacheSim (C) reads the accesses from a file in its own binary format, one expert at a time, its
hash table sized for the trace; the compiled engine's time includes its set-up.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from prefetch_sim.experiments.benchmark.measure import hit_rate, load, run, table, timed
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.traces.exporters.oracle_general import write_accesses

ROUNDS = 3
CAPACITIES = ("25%", "50%", "75%")
THEIRS = {"lru": "LRU", "fifo": "FIFO", "lfu": "LFU", "belady": "Belady", "s3-fifo": "S3FIFO"}
HASHPOWERS = (10, 12, 14, 16, 20)
# A trace of Qwen3-30B-A3B's shape, 26,112 tokens.
QWEN = {"synthetic": "qwen3-30b-a3b", "requests": 51, "prompt": 0, "decode": 512}


def their_seconds(path: Path, eviction: str, capacity: int, hashpower: int) -> float:
    import libcachesim as lcs

    reader = lcs.TraceReader(
        str(path), lcs.TraceType.ORACLE_GENERAL_TRACE, lcs.ReaderInitParam(ignore_obj_size=True)
    )
    cache: Any = getattr(lcs, THEIRS[eviction])(capacity, hashpower=hashpower)
    return timed(lambda: cache.process_trace(reader))[0]


def compare(load_run: Any, eviction: str, capacity: str, path: Path) -> list[str]:
    """A row of accesses a second, medians of rounds in which all take turns."""
    alone: Inputs = load_run(capacity, eviction=eviction)
    ahead: Inputs = load_run(capacity, eviction=eviction, predictor="previous-token")
    accesses = alone.workload.flat.size
    room = sum(alone.cache_bytes) // alone.sizes[0]
    run(ahead)  # predictions are worked out once
    power = min(HASHPOWERS, key=lambda p: their_seconds(path, eviction, room, p))
    ours, with_prefetch, theirs = [], [], []
    for _ in range(ROUNDS):
        seconds, done = run(alone)
        ours.append(seconds)
        with_prefetch.append(run(ahead)[0])
        theirs.append(their_seconds(path, eviction, room, power))
    rates = [accesses / median(times) / 1e6 for times in (ours, with_prefetch, theirs)]
    return [
        f"{eviction}, {capacity}",
        f"{hit_rate(done):.1%}",
        *(f"{rate:.1f} M/s" for rate in rates),
        f"{rates[0] / rates[2]:.2f} x",
        f"{rates[1] / rates[2]:.2f} x",
    ]


def rows(name: str, load_run: Any) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "accesses.oracleGeneral"
        first: Inputs = load_run(CAPACITIES[0])
        write_accesses(path, first.workload.flat.ravel())
        for eviction in THEIRS:
            for capacity in CAPACITIES:
                row = compare(load_run, eviction, capacity, path)
                yield [f"{name}: {row[0]}", *row[1:]]


def report(recording: Path | None) -> str:
    """``recording``: a trace of GPT-OSS-20B; left out without one."""
    runs = {"Qwen3-30B": partial(load, trace=QWEN, model="qwen3-30b-a3b", hardware="h100-sxm")}
    if recording is not None:
        runs = {"GPT-OSS-20B": partial(load, trace=str(recording))} | runs
    headings = (
        "trace, eviction, cache", "hit rate", "compiled", "with prefetch", "libCacheSim",
        "compiled over it", "with prefetch",
    )  # fmt: skip
    return table(headings, [row for name, one in runs.items() for row in rows(name, one)])
