"""Whether a table of results can be one that a sweep wrote: files are edited, cut and converted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.traces.errors import first_line

_LARGEST = 1e18  # of any number in results: ms, bytes, tokens
_MEASURES = (
    "tpot_ms.", "ttft_ms.", "by_request.", "decode_tokens_per_s", "tokens_per_s", "total_ms",
    "compute_ms", "runtime_ms", "stall_ms.", "bounds_ms.", "hit_rate.", "cpu_rate", "link_busy.",
    "loads", "bytes.", "cache.bytes", "cache.share", "prefetch.",
    "decode_prefetch.",
)  # fmt: skip


def is_measure(column: str) -> bool:
    """Whether a column has numbers of a run that are never below 0."""
    return column.startswith(_MEASURES)


def check_numbers(name: str, column: str, values: Iterable[Any]) -> None:
    """Every value is a number of at least 0; None is no result. Raises ConfigError."""
    for value in values:
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise damaged(name, f"{column}: {value!r:.40} is no number")
        if not 0 <= value < _LARGEST:
            raise damaged(name, f"{column}: {value:g} is none of a run")


def damaged(name: str, why: Exception | str) -> ConfigError:
    """What is said of results in ``name`` that no sweep can have written."""
    told = why if isinstance(why, str) else short(why)
    return ConfigError(f"{name}: damaged, or not the results of a sweep ({told})")


def short(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
