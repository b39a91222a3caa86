"""What the phone's hit rates depend on, made from its recordings: ``tests/phone``.

A recording is not ours to keep. Hits and misses of its first steps depend on less: which of a
layer's experts are the same ones as before. So experts are numbered in each layer as they first
come, sets have no order, a prompt's tokens are one set, and weights are gone; beside it stands the
hit rate that the phone measured after each step.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from prefetch_sim.traces.format import DECODE, PREFILL, Trace, TraceMeta, write_trace
from prefetch_sim.traces.importers import import_trace

FOLDER = Path(__file__).parent / "phone"
RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "big-moe-on-edge"
STEPS = 32  # decode steps: the cache is full, and lets experts go, since the prompt
SOURCE = "github.com/Helldez/BigMoeOnEdge at 2d4f2b11, Apache-2.0: tests/phone_fixture.py"


def measured(recording: Path) -> list[str]:
    """The hit rate after each decode step, in %, cumulative, as the phone wrote it down."""
    with recording.with_suffix("").with_suffix(".metrics").open(encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [row["cache_hit_pct"] for row in rows]


def derived(recording: Path) -> Trace:
    trace = import_trace(recording)
    layers, k = trace.model.moe_layers, trace.model.top_k
    prompt, decode = (trace.experts[trace.phase == phase] for phase in (PREFILL, DECODE))
    numbers: list[dict[int, int]] = [{} for _ in range(layers)]
    for layer, number in enumerate(numbers):
        for x in np.unique(prompt[:, layer][prompt[:, layer] >= 0]).tolist():
            number[x] = len(number)
    # Tokens that between them route each layer's set: k each, the last ones some of them again.
    tokens = -(-max(map(len, numbers)) // k)
    experts = np.full((tokens + STEPS, layers, k), -1, dtype=np.int16)
    for layer, number in enumerate(numbers):
        for token in range(-(-len(number) // k)):
            experts[token, layer] = min(token * k, len(number) - k) + np.arange(k)
        for step in range(STEPS):
            routed = [number.setdefault(x, len(number)) for x in sorted(decode[step, layer])]
            experts[tokens + step, layer] = sorted(routed)
    rows = np.arange(tokens + STEPS)
    return Trace(
        path=None,
        meta=TraceMeta(
            model=trace.model,
            recorded={"source": SOURCE, "measured": " ".join(measured(recording)[:STEPS])},
        ),
        request_id=np.zeros(len(rows), dtype=np.int32),
        position=rows.astype(np.int32),
        phase=np.where(rows < tokens, PREFILL, DECODE).astype(np.int8),
        token_id=None,
        experts=experts,
        weights=None,
    )


if __name__ == "__main__":  # the recordings' names
    for name in sys.argv[1:]:
        write_trace(FOLDER / f"{name}.parquet", derived(RECORDINGS / f"{name}.route.csv"))
