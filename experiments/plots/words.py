"""Names of axes, values and measures in words, with units."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from prefetch_sim.experiments.plots import labels
from prefetch_sim.sim.config import registry

_AXES = {
    "model": "model",
    "trace": "trace",
    "hardware": "machine",
    "hardware.compute.memory_gib": "GPU memory, GiB",
    "cache.capacity": "experts cached, %",
    "cache.eviction": "eviction",
    "cache.scope": "cache scope",
    "cache.static": "experts that never leave",
    "cache.warm": "cache at the start",
    "predictor": "predictor",
    "recall": "slot recall of the predictor",
    "misses": "missing experts",
    "misses.policy": "missing experts",
    "misses.up_to": "tokens the CPU computes for",
    "prefetch.policy": "prefetch policy",
    "prefetch.extra": "experts prefetched beyond the top k",
    "prefetch.threshold": "prefetch threshold",
    "runtime.kernels": "kernels",
    "runtime.overlap": "overlap",
    "runtime.reserve_mib": "memory the runtime keeps, MiB",
    "host.capacity": "experts in host memory",
    "batch_size": "requests at a time",
    "context": "context, tokens",
    "requests": "requests",
    "seed": "seed",
}
_TITLES = {  # of a value that stands alone, where a user calls the axis nothing else
    "cache.capacity": "{} % of experts cached",
    "cache.eviction": "{} eviction",
    "recall": "oracle recall {}",
    "runtime.kernels": "{} kernels",
}
_UNITS = {  # the last part of a key, longest first
    "us_per_mib": "µs/MiB",
    "gb_s": "GB/s",
    "tflops": "TFLOP/s",
    "gib": "GiB",
    "mib": "MiB",
    "kib": "KiB",
    "us": "µs",
    "ms": "ms",
    "ns": "ns",
}
_NAMES = {
    "lru": "LRU", "lfu": "LFU", "fifo": "FIFO", "s3-fifo": "S3-FIFO", "belady": "Belady",
}  # fmt: skip
_POLICIES = ("predictor", "prefetch.policy", "misses")  # beside evictions
MEASURES = {
    "tpot_ms.mean": "time per output token, ms",
    "tpot_ms.p50": "time per output token, median, ms",
    "tpot_ms.p95": "time per output token, 95th percentile, ms",
    "tpot_ms.p99": "time per output token, 99th percentile, ms",
    "ttft_ms.mean": "time to first token, ms",
    "decode_tokens_per_s": "decode, tokens/s",
    "tokens_per_s": "tokens/s, prefill included",
    "total_ms": "time of the run, ms",
    "hit_rate.all": "hit rate, %",
    "hit_rate.decode": "hit rate in decode, %",
    "hit_rate.prefill": "hit rate in prefill, %",
    "cpu_rate": "routed experts computed by the CPU, %",
    "loads": "experts loaded",
    "compute_ms": "compute, ms of the run",
    "runtime_ms": "the runtime's own work, ms of the run",
    "regret_ms": "time over the clairvoyant bound, ms of the run",
    "link_busy.host_link": "host link busy, %",
    "link_busy.storage": "storage busy, %",
    "stall_ms.demand_miss": "stall on demand misses, ms of the run",
    "stall_ms.late_prefetch": "stall on late prefetches, ms of the run",
    "stall_ms.queueing": "stall on queueing, ms of the run",
    "stall_ms.storage": "stall on storage, ms of the run",
    "stall_ms.cpu": "stall on the CPU, ms of the run",
}


def axis_words(path: str) -> str:
    """``hardware.host_link.gb_s`` is "host link, GB/s"."""
    return labels.label(_axis(path), path)


def words_in_a_sentence(path: str) -> tuple[str, str]:
    """(an axis's words, its unit) where a value stands between; a user's label is not shortened."""
    words, _, unit = axis_words(path).partition(", ")
    return ("recall" if words == _AXES["recall"] else words), unit


def _axis(path: str) -> str:
    if path in _AXES:
        return _AXES[path]
    parts = path.split(".")
    if parts[0] in ("hardware", "runtime") and len(parts) > 1:
        parts = parts[1:]
    words, unit = [], ""
    for part in parts:
        found = next((key for key in _UNITS if f"_{part}".endswith(f"_{key}")), "")
        if found and not unit:
            unit = f", {_UNITS[found]}"
            words.append(part.removesuffix(found))
        else:
            words.append(part)
    named = " ".join(" ".join(words).replace("_", " ").split())
    return f" {named} ".replace(" cpu ", " CPU ").strip() + unit


def value_words(dimension: str, value: Any) -> str:
    """A value as a legend or a tick has it, where the axis's words stand beside it."""
    text = plain_words(dimension, value)
    own = labels.label(text, str(value), axis=dimension)
    if own != text:
        return own
    return labels.label_words(text, {name: _own(name).strip() for name in labels.names()})


def plain_words(dimension: str, value: Any) -> str:
    """``value_words`` without a user's labels."""
    if dimension in ("cache.capacity", "recall") or dimension.startswith("predictor."):
        return f"{float(value):g}"
    text = str(value)
    if dimension == "cache.eviction":
        first, _, rest = text.partition(" ")
        return _own(f"{_NAMES.get(first, first)} {rest}".strip())
    if dimension == "predictor" and text == "none":
        return "no prefetch"
    if dimension in ("trace", "model"):
        return Path(text).name
    if text == "none" and dimension.startswith(("hardware.", "runtime.")):
        return f"as the {'machine' if dimension[0] == 'h' else 'runtime'} has it"
    text = text.replace("policy=", "").replace("name=", "").replace("=", " ")
    return _own(text) if dimension.startswith(_POLICIES) else text


def _own(text: str) -> str:
    """Policies of one's own by their names alone: ``__main__.Slru`` and ``slru.py``.

    A file that is called as a policy of this package keeps its ending. A legend leaves out what
    begins with ``_``, so a space goes before it.
    """
    words = [word.removeprefix("__main__.") for word in text.split(" ")]
    short = (word if (name := word.removesuffix(".py")) in _taken() else name for word in words)
    text = " ".join(short)
    return f" {text}" if text.startswith("_") else text


@cache
def _taken() -> frozenset[str]:
    """Names of the policies that come with the package."""
    return frozenset(name for kind in registry.CONTRACTS for name in registry.names(kind))


def title_of(dimension: str, value: Any) -> str:
    """A value that stands alone: ``20 % of experts cached``, ``host link 25 GB/s``."""
    text = value_words(dimension, value)
    if dimension in ("predictor", "model", "hardware"):
        return text
    if dimension in _TITLES and axis_words(dimension) == _axis(dimension):
        return _TITLES[dimension].format(text)
    words, _, unit = axis_words(dimension).partition(", ")
    return f"{words} {text}" + (f" {unit}" if unit and value != "none" else "")


def measure_words(name: str) -> str:
    """What a column of the results is, with its unit; shares are in %."""
    if name in MEASURES:
        return labels.label(MEASURES[name], name)
    named = _axis(name)
    return labels.label(f"{named}, %" if is_share(name) else named, name)


def is_share(name: str) -> bool:
    """Whether a column of the results is a part of one, which figures show in %."""
    last = name.rpartition(".")[2]
    return (
        name.startswith(("hit_rate", "link_busy"))
        or name in ("cpu_rate", "cache.share")
        or last.endswith(("slot_recall", "exact_set"))
    )
