"""gpu_probe.py: torch alone, on a GPU for minutes or on a CPU as a dry run of the code.

Its figures are ``{"n", "min", "p10", "p50", "p90", "max"}``, µs. Checked on what it wrote on a CPU.
"""

from __future__ import annotations

from typing import Any

from prefetch_sim.sim.calibration.link import LinkTimes
from prefetch_sim.sim.calibration.link import findings as of_link
from prefetch_sim.sim.calibration.operators import Operator
from prefetch_sim.sim.calibration.operators import findings as of_operators
from prefetch_sim.sim.calibration.samples import Findings, Samples, Stamp
from prefetch_sim.sim.calibration.sources.broken import SourceError, mapping, number

_BYTES = 2  # of a weight: it measures in bf16
# Widths of its shapes: hidden, expert, query heads, key/value heads, head, shared, vocab.
_SHAPES = {
    "deepseek-v2-lite": (2048, 1408, 16, 16, 192, 2816, 102400),
    "qwen3-30b-a3b": (2048, 768, 32, 4, 128, 0, 151936),
    "phi-mini-moe": (4096, 960, 32, 8, 128, 0, 32064),
    "gpt-oss-20b": (2880, 2880, 64, 8, 64, 0, 201088),
}
_TABLES = {
    "isolated": "h2d_pinned_isolated",
    "queued": "h2d_pinned_queued",
    "pageable": "h2d_pageable",
    "back": "d2h_pinned_isolated",
    "both_ways": "duplex_h2d",
    "computing": "h2d_under_load",
}


def read(content: dict[str, Any]) -> tuple[str, bool, Findings]:
    """Machine, whether it has one memory, and findings. Raises SourceError."""
    machine = mapping(content, "machine")
    gpu = machine.get("gpu")
    cpu = str(machine.get("cpu") or "").partition(":")[2].strip()
    name = str(gpu or cpu or "a CPU")
    stamp = Stamp(str(machine.get("date") or "at a time not stated")[:10], name, "gpu_probe.py")
    found = Findings()
    if "skipped" not in (link := mapping(content, "link")) and "error" not in link:
        tables = {ours: _table(link, theirs) for ours, theirs in _TABLES.items()}
        if not tables["isolated"] or not tables["queued"]:
            raise SourceError("link: no copies of any size")
        found.add(of_link(LinkTimes(**tables), stamp))
    launch = content.get("launch")
    captured = None
    if isinstance(launch, dict) and "graph" in launch:
        captured = _samples(launch, "graph", "launch.")
        found.hardware |= {
            "compute.launch_us": stamp.figure(captured, "a small kernel in a graph of many"),
            "compute.eager_launch_us": stamp.figure(
                _samples(launch, "eager_queued", "launch."), "a small kernel right behind another"
            ),
        }
    operators = [op for shape in _SHAPES for op in _operators(content, shape)]
    if operators and captured is not None:
        found.add(of_operators(operators, captured.median, stamp))
    readback = content.get("readback")
    if isinstance(readback, dict) and "error" not in readback and "skipped" not in readback:
        ways = [
            _samples(mapping(readback, key), "topk_to_host", f"readback.{key}.") for key in readback
        ]
        if ways:
            note = "scores to top-k to the host, and waiting"
            found.runtime["routing_us"] = stamp.figure(Samples.pooled(ways), note)
    if not found.hardware:
        raise SourceError("nothing was measured: every part was skipped or failed")
    return name, gpu is None, found


def _table(link: dict[str, Any], key: str) -> dict[int, Samples]:
    table = mapping(link, key)
    if not all(size.isdigit() and int(size) for size in table):
        raise SourceError(f"link.{key}: sizes are bytes")
    return {int(size): _samples(table, size, f"link.{key}.") for size in table}


def _samples(content: dict[str, Any], key: str, where: str) -> Samples:
    one = mapping(content, key)
    at = [number(one, name, f"{where}{key}.") for name in ("n", "p10", "p50", "p90")]
    n, low, middle, high = (value or 0.0 for value in at)
    if None in at or not low <= middle <= high:
        raise SourceError(f"{where}{key}: expected n, p10, p50 and p90, in order")
    return Samples(int(n), low, middle, high)


def _operators(content: dict[str, Any], shape: str) -> list[Operator]:
    """Those in a graph, where launches are least. It counts attention's projections apart."""
    part = content.get(f"operators.{shape}")
    if not isinstance(part, dict) or "graph" not in part:
        return []
    hidden, width, heads, kv, head, shared, vocab = _SHAPES[shape]
    expert = 3 * hidden * width
    weights = {
        "qkv_and_o": ("attention", hidden * (heads + 2 * kv) * head + heads * head * hidden),
        "shared_expert": ("shared", 3 * hidden * shared),
    }
    graph, found = mapping(part, "graph"), []
    where = f"operators.{shape}.graph."
    for key in graph:
        us = _samples(graph, key, where)
        if key in weights:
            name, count = weights[key]
            found.append(Operator(shape, name, 1, _BYTES * count, 2.0 * count, us))
        elif key.startswith("expert_"):
            tokens = int(key.removeprefix("expert_"))
            found.append(
                Operator(shape, "expert", tokens, _BYTES * expert, 2.0 * expert * tokens, us)
            )
    if "head" in part:
        us = _samples(part, "head", f"operators.{shape}.")
        found.append(Operator(shape, "head", 1, _BYTES * hidden * vocab, 2.0 * hidden * vocab, us))
    return found
