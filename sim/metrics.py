"""A run's results: pure functions of its records. Times in ms, bytes in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.bounds import Bounds
from sim.loads import DEMAND, DISPOSITIONS, PREFETCH, Loader
from sim.records import LayerRecords, LoadRecords, StepRecords
from sim.workload import Step

MS = 1e6  # ns


def _ms(ns: float) -> float:
    return round(float(ns) / MS, 6)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def distribution(ns: npt.NDArray[np.int64]) -> dict[str, float | None]:
    if not len(ns):
        return {"mean": None, "p50": None, "p95": None, "p99": None}
    p50, p95, p99 = np.percentile(ns, [50, 95, 99])
    return {"mean": _ms(ns.mean()), "p50": _ms(p50), "p95": _ms(p95), "p99": _ms(p99)}


def latencies(
    steps: Iterable[Step], records: StepRecords
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(time per output token, time to first token), ns, one entry per token and per request.

    The first token comes out of the prefill, or, where the trace has none, of the first decode
    step; then it counts as an output token and the request has no time to first token.
    """
    start, end = records.column("start").tolist(), records.column("end").tolist()
    last: dict[int, int] = {}
    between: list[int] = []
    first: list[int] = []
    for step in steps:
        for request in step.requests:
            if step.prefill:
                first.append(end[step.number] - start[step.number])
            else:
                between.append(end[step.number] - last.get(request, start[step.number]))
            last[request] = end[step.number]
    return np.array(between, dtype=np.int64), np.array(first, dtype=np.int64)


def hit_rates(
    records: LayerRecords, prefill: npt.NDArray[np.integer], layers: int
) -> dict[str, Any]:
    """Share of routed experts that were resident when their layer was routed."""
    hits, experts = records.column("hits"), records.column("experts")
    is_prefill = prefill[records.column("step")] == 1
    layer = records.column("layer")
    return {
        "all": _share(int(hits.sum()), int(experts.sum())),
        "decode": _share(int(hits[~is_prefill].sum()), int(experts[~is_prefill].sum())),
        "prefill": _share(int(hits[is_prefill].sum()), int(experts[is_prefill].sum())),
        "by_layer": [
            _share(int(h), int(n))
            for h, n in zip(np.bincount(layer, hits, layers), np.bincount(layer, experts, layers))
        ],
    }


def _bytes(loader: Loader) -> dict[str, dict[str, int]]:
    moved = {"host_to_gpu": [0, 0], "storage": [0, 0]}
    for server, by_origin in zip(loader.stages, loader.moved_bytes):
        moved["storage" if server.name == "storage" else "host_to_gpu"] = by_origin
    return {
        name: {"demand": by_origin[DEMAND], "prefetch": by_origin[PREFETCH]}
        for name, by_origin in moved.items()
    }


def summarise(
    steps: Iterable[Step],
    layers: int,
    layer_records: LayerRecords,
    step_records: StepRecords,
    load_records: LoadRecords,
    loader: Loader,
    rates: Sequence[float],
    bounds: Bounds,
) -> dict[str, Any]:
    """Everything about the run but its config, predictors' quality and event count.

    ``rates`` are the full rates of the loader's stages, bytes a ns.
    """
    total = int(step_records.column("end")[-1])
    prefill = step_records.column("prefill")
    between, first = latencies(steps, step_records)
    compute = int(step_records.column("compute").sum())
    stall = {
        "demand_miss": "stall_demand",
        "late_prefetch": "stall_late",
        "queueing": "stall_queue",
        "storage": "stall_storage",
    }
    return {
        "tpot_ms": distribution(between),
        "ttft_ms": distribution(first),
        "tokens_per_s": round((len(between) + len(first)) / (total / 1e9), 6) if total else None,
        "total_ms": _ms(total),
        "hit_rate": hit_rates(layer_records, prefill, layers),
        "loads": load_records.landed,
        "bytes": _bytes(loader),
        "stall_ms": {name: _ms(layer_records.column(c).sum()) for name, c in stall.items()},
        "compute_ms": _ms(compute),
        "link_busy": {
            server.name: round(sum(moved) / (rate * total), 6) if total else None
            for server, moved, rate in zip(loader.stages, loader.moved_bytes, rates)
        },
        "prefetch": {
            "proposed": loader.proposed,
            **dict(zip(DISPOSITIONS, loader.counts)),
        },
        "bounds_ms": {
            "compute": _ms(bounds.compute),
            "link": _ms(bounds.link),
            "clairvoyant": _ms(bounds.clairvoyant),
        },
        "regret_ms": _ms(total - bounds.clairvoyant),
        "steps": len(step_records),
        "layer_steps": len(layer_records),
    }
