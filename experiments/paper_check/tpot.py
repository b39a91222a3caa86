"""Time per output token of every point of the plan."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from prefetch_sim.experiments.paper_check.plan import Point
from prefetch_sim.sim.run import run


def measure(point: Point) -> dict[str, Any]:
    """One run as a flat row. Times are ms a token, traffic MB (1e6 bytes) a token."""
    result = run(point.config)
    tokens = result["steps"]
    quality: dict[str, Any] = next(iter(result["predictors"].values()), {})
    moved, prefetch = result["bytes"], result["prefetch"]
    stall = {name: ms for name, ms in result["stall_ms"].items() if name != "cpu"}  # none here
    return {
        "device": point.device,
        "runtime": point.runtime,
        "variant": point.variant,
        "predictor": point.predictor,
        "tpot_ms": round(result["tpot_ms"]["mean"], 3),
        "compute_ms": round(result["compute_ms"] / tokens, 3),
        **{f"stall_{name}_ms": round(ms / tokens, 3) for name, ms in stall.items()},
        "hit_rate": result["hit_rate"]["all"],
        "slot_recall": quality.get("slot_recall"),
        "exact_set": quality.get("exact_set"),
        "link_demand_mb": round(moved["host_to_gpu"]["demand"] / tokens / 1e6, 1),
        "link_prefetch_mb": round(moved["host_to_gpu"]["prefetch"] / tokens / 1e6, 1),
        "storage_mb": round(sum(moved["storage"].values()) / tokens / 1e6, 1),
        "link_busy": result["link_busy"]["host_link"],
        "clairvoyant_ms": round(result["bounds_ms"]["clairvoyant"] / tokens, 3),
        **prefetch,
    }


def measure_all(points: Iterable[Point], jobs: int) -> list[dict[str, Any]]:
    """Rows in the order of ``points``; progress on stderr."""
    todo = list(points)
    rows = []
    with ProcessPoolExecutor(jobs) as pool:
        for done, row in enumerate(pool.map(measure, todo), 1):
            rows.append(row)
            if done % 10 == 0 or done == len(todo):
                print(f"{done}/{len(todo)} runs", file=sys.stderr)
    return rows
