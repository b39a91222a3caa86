"""The rows of a finished sweep's ``results.parquet``, which may have been edited or cut short."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path
from typing import Any

from prefetch_sim.experiments.comparing.words import PARTS
from prefetch_sim.experiments.sweeps.export import EXPORTS
from prefetch_sim.experiments.sweeps.sound import check_numbers, damaged, is_measure, short
from prefetch_sim.sim.config.errors import ConfigError

Row = dict[str, Any]

AXIS, CONFIG, PREDICTORS = "axis.", "config.", "predictors."
_STAGES = ("host_link", "storage")
_ENDS = ("proposed", "timely", "late", "useless", "cancelled")  # of prefetches
_DECODE = tuple(f"decode_prefetch.{ends}" for ends in _ENDS)
_COUNTS = (  # what every run has
    "total_ms", "compute_ms", "runtime_ms", "loads", "config.batch_size",
    *(part.replace("stall: ", "stall_ms.") for part in PARTS if part.startswith("stall: ")),
    *(f"bytes.{end}.{why}" for end in ("host_to_gpu", "storage")
      for why in ("demand", "prefetch", "behind")),
    *(f"prefetch.{ends}" for ends in _ENDS),
)  # fmt: skip
_MEANS = (  # what a run without output tokens, or without a prefill, lacks
    "tpot_ms.mean", "ttft_ms.mean", "decode_tokens_per_s", "tokens_per_s", "cpu_rate",
    "hit_rate.all", "hit_rate.decode", "hit_rate.prefill",
)  # fmt: skip
_LISTS = ("by_request.tpot_ms", "by_request.ttft_ms", "by_request.output_tokens")
_TEXTS = ("name", "as_given.model", "as_given.hardware", "as_given.runtime")


def read_rows(folder: Path) -> tuple[list[Row], list[Row]]:
    """The points that have a result, by column, at least one; and those that failed.

    Raises ConfigError where there are none, or where no sweep can have written them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / EXPORTS[0]
    if not path.is_file():
        raise ConfigError(f"--sweep: {path}: no such file; is {folder} a finished sweep?")
    try:
        rows = pq.read_table(path, page_checksum_verification=True).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"--sweep: {path}: cannot be read ({short(error)})") from error
    except Exception as error:  # whatever a table raises that is no sweep's
        raise damaged(f"--sweep: {path}", error) from error
    failed = [row for row in rows if row.get("error") is not None]
    rows = [
        {name: _plain(value) for name, value in row.items()}
        for row in rows
        if row.get("error") is None
    ]
    if not rows or _LISTS[0] not in rows[0]:
        raise ConfigError(
            f"--sweep: {path}: has no results by request; if it is a sweep, run it again"
        )
    check_rows(rows, f"--sweep: {path}")
    return rows, failed


def _plain(value: Any) -> Any:
    """What other programs write in place of nothing is None again."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def check_rows(rows: list[Row], name: str) -> None:
    """Refuse what comparing stumbles over. Raises ConfigError."""
    columns = list(rows[0])
    apart = any(column.startswith("decode_prefetch.") for column in columns)
    counts = (*_COUNTS, *(_DECODE if apart else ()))  # sweeps of before have them in all alone
    for column in (*counts, *_MEANS, *_LISTS, *_TEXTS):
        if column not in columns:
            raise damaged(name, f"no column {column}")
    known = (*_COUNTS, *(f"link_busy.{stage}" for stage in _STAGES))
    axes = [column for column in columns if column.startswith(AXIS)]
    for column in columns:
        values = [row[column] for row in rows]
        if column.startswith(("stall_ms.", "link_busy.")) and column not in known:
            raise damaged(name, f"{column} is of no run")
        if column in (*axes, *_TEXTS):
            if not all(isinstance(value, str) for value in values):
                raise damaged(name, f"{column}: not all are texts")
        elif column in _LISTS:
            if not all(isinstance(value, list) for value in values):
                raise damaged(name, f"{column}: not all are lists")
            check_numbers(name, column, chain.from_iterable(values))
        elif column == "config.batch_size" or column.endswith(".slot_recall") or (
            is_measure(column) and column != "hit_rate.by_layer"
        ):  # fmt: skip
            check_numbers(name, column, values)
        if column in counts and None in values:
            raise damaged(name, f"{column}: one is missing")
    for row in rows:
        if len({len(row[column]) for column in _LISTS}) > 1 or None in row[_LISTS[2]]:
            raise damaged(name, f"results by request of {row['name']!r} are not of all requests")
    seen: dict[tuple[str, ...], str] = {}
    for row in rows:
        other = seen.setdefault(tuple(row[axis] for axis in axes), row["name"])
        if other is not row["name"]:
            raise damaged(name, f"no axis tells {other!r} from {row['name']!r}")
