"""A run's results are pure functions of its records. Times are in ms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.engine.load import DISPOSITIONS, ORIGINS
from prefetch_sim.sim.engine.records import LayerTotals, StepRecords, Totals
from prefetch_sim.sim.results.bounds import Bounds
from prefetch_sim.sim.workload.step_table import StepTable

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
    table: StepTable, records: StepRecords
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(time per output token, time to first token), ns, one entry per token and per request.

    The first token comes out of the prefill, or, where the trace has none, of the first decode
    step; then it counts as an output token and the request has no time to first token.
    """
    start, end = _times(records)
    first = table.first_out
    return end[table.out] - _begun(table, records), end[first] - start[first]


def decode_rate(table: StepTable, records: StepRecords) -> float | None:
    """Output tokens a second of the time in which at least one was awaited; None of no tokens.

    One request after the other: 1000 over the mean time per output token in ms.
    """
    begun, end = _begun(table, records), _times(records)[1][table.out]
    order = np.argsort(begun, kind="stable")
    reached = np.maximum.accumulate(end[order])
    covered = np.concatenate([begun[order][:1], reached[:-1]])
    awaited = int(np.maximum(0, reached - np.maximum(begun[order], covered)).sum())
    return round(len(end) / (awaited / 1e9), 6) if awaited else None


def _begun(table: StepTable, records: StepRecords) -> npt.NDArray[np.int64]:
    """ns at which each output token was awaited from: where the one before it was out."""
    start, end = _times(records)
    return np.where(table.before < table.out, end[table.before], start[table.before])


def _times(records: StepRecords) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """When each step began and ended, ns."""
    return records.column("start").astype(np.int64), records.column("end").astype(np.int64)


def by_request(
    table: StepTable, between: npt.NDArray[np.int64], first: npt.NDArray[np.int64]
) -> dict[str, list[Any]]:
    """What ``latencies`` found, in lists by request in the trace's order; None where none is.

    ``tpot_ms`` is the mean over the request's output tokens, ``output_tokens`` how many these are.
    """
    requests = 1 + max(table.owner.max(initial=-1), table.first_owner.max(initial=-1))
    tokens = np.bincount(table.owner, minlength=requests)
    sums = np.bincount(table.owner, weights=between, minlength=requests)
    to_first: list[float | None] = [None] * requests
    for request, ns in zip(table.first_owner.tolist(), first.tolist()):
        to_first[request] = _ms(ns)
    return {
        "tpot_ms": [_ms(ns / n) if n else None for ns, n in zip(sums, tokens)],
        "ttft_ms": to_first,
        "output_tokens": tokens.tolist(),
    }


def hit_rates(totals: LayerTotals) -> dict[str, Any]:
    """Share of routed experts that were resident when their layer was routed."""
    experts, hits = totals.counts[:, :, 0], totals.counts[:, :, 1]

    def share(part: Any) -> float | None:
        return _share(int(hits[part].sum()), int(experts[part].sum()))

    return {
        "all": share(slice(None)),
        "decode": share(0),
        "prefill": share(1),
        "by_layer": [share((slice(None), layer)) for layer in range(experts.shape[1])],
    }


def _bytes(stages: Sequence[str], moved_bytes: list[list[int]]) -> dict[str, dict[str, int]]:
    moved = {"host_to_gpu": [0] * len(ORIGINS), "storage": [0] * len(ORIGINS)}
    for stage, by_origin in zip(stages, moved_bytes):
        moved["storage" if stage == "storage" else "host_to_gpu"] = by_origin
    return {name: dict(zip(ORIGINS, by_origin)) for name, by_origin in moved.items()}


def _ends(phases: Sequence[Sequence[int]]) -> dict[str, int]:
    """How many prefetches ended how, of ``phases`` together."""
    return {end: sum(counts) for end, *counts in zip(DISPOSITIONS, *phases)}


def summarise(
    table: StepTable,
    totals: Totals,
    step_records: StepRecords,
    stages: Sequence[str],
    rates: Sequence[float],
    own: int,
    bounds: Bounds | None,
) -> dict[str, Any]:
    """Everything about the run but its config, predictors' quality and event count.

    ``stages`` are the parts of the load path by name, ``rates`` their full rates, bytes a ns;
    ``own`` is what the engine's own work took, ns; ``bounds`` a real device has none.
    """
    total = int(step_records.column("end")[-1])
    between, first = latencies(table, step_records)
    experts, _, _, on_cpu = totals.layers.counts.sum(axis=0).T
    compute = int(step_records.column("compute").sum()) - own
    stall = ("demand_miss", "late_prefetch", "queueing", "storage", "cpu")
    return {
        "tpot_ms": distribution(between),
        "ttft_ms": distribution(first),
        "by_request": by_request(table, between, first),
        "decode_tokens_per_s": decode_rate(table, step_records),
        "tokens_per_s": round((len(between) + len(first)) / (total / 1e9), 6) if total else None,
        "total_ms": _ms(total),
        "hit_rate": hit_rates(totals.layers),
        "cpu_rate": _share(int(on_cpu.sum()), int(experts.sum())),
        "loads": totals.landed,
        "bytes": _bytes(stages, totals.moved_bytes),
        "stall_ms": {name: _ms(ns) for name, ns in zip(stall, totals.layers.stalls)},
        "compute_ms": _ms(compute),
        "runtime_ms": _ms(own),
        "link_busy": {
            stage: round(sum(moved) / (rate * total), 6) if total else None
            for stage, moved, rate in zip(stages, totals.moved_bytes, rates)
        },
        "prefetch": {"proposed": totals.proposed, **_ends(totals.dispositions)},
        "decode_prefetch": {
            "proposed": sum(totals.dispositions[0]),
            **_ends(totals.dispositions[:1]),
        },
        "bounds_ms": {name: _ms(ns) for name, ns in bounds._asdict().items()} if bounds else None,
        "regret_ms": _ms(total - bounds.clairvoyant) if bounds else None,
        "steps": len(step_records),
        "layer_steps": len(step_records) * totals.layers.counts.shape[1],
    }
