"""Plain CSV, for whatever has no importer of its own: one row a token and layer.

``request, position, layer, experts``, with commas, semicolons or tabs between: the experts, best
first, as a list in one field (``[1, 2]``, ``1 2``, ``1;2``), or as all fields from there on where
the column is the last. Also read where they are there: ``phase`` (prefill or decode; without it all
is decode), ``weights`` (a list, as experts), ``token_id``. ``expert_0``, ``expert_1``, ... may be
there for ``experts``. Requests may be numbers or names. Layers are numbered as in the model, or
those with a router alone. No experts: the layer did not route.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import csv_columns, read_csv, read_head
from prefetch_sim.traces.importers.tidy import UNPHASED, noted
from prefetch_sim.traces.trace import PHASES, Trace

FORMAT = "csv"
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_MOST = 120  # letters of a header that an error shows
COLUMNS = ("request", "position", "layer", "experts")
_KEYS = COLUMNS[:3]
_BESIDE = ("phase", "weights", "token_id")
_ONE = re.compile(r"(expert|weight)_(0|[1-9]\d{0,2})")  # a column of one expert


def has_columns(names: Iterable[str]) -> bool:
    """Whether a table of such columns can be read."""
    there = set(names)
    return there.issuperset(_KEYS) and not there.isdisjoint(("experts", "expert_0"))


def is_read(name: str) -> bool:
    """Whether a column of that name is looked at."""
    return name in COLUMNS or name in _BESIDE or _ONE.fullmatch(name) is not None


def matches(head: bytes, path: Path) -> bool:
    """CSV with the columns."""
    return has_columns(csv_columns(head))


def told(found: Iterable[str]) -> str:
    """What keeps a table with columns ``found`` from being this; "" where these are no names."""
    found = list(found)
    if len(found) < len(COLUMNS) - 1 or not all(map(_NAME.fullmatch, found)):
        return ""
    lacking = ", ".join(name for name in COLUMNS if name not in found)
    return f"its columns are {','.join(found)[:_MOST]}, and plain CSV has {lacking} too"


def read(path: Path, asked: Asked) -> Trace:
    """Every request of the file, of the model that it does not name."""
    sets = RoutedSets(path, asked)
    needed = _KEYS if "expert_0" in csv_columns(read_head(path)) else COLUMNS
    return trace_of(sets, read_csv(path, needed), FORMAT)


def trace_of(sets: RoutedSets, rows: Iterator[tuple[int, dict[str, str]]], format: str) -> Trace:
    """The trace of rows by their columns' names, each with its place in the file."""
    tokens: list[int] = []
    beside: set[str] | None = None
    for line, row in rows:
        there = row.keys() & set(_BESIDE)  # JSON lines may have other keys each
        beside = there if beside is None else beside
        if there != beside:
            name = min(there ^ beside)
            raise sets.wrong(line, f"{name!r} is given in some records, not in others")
        word = row.get("phase", "decode").strip().lower()
        if word not in PHASES:
            raise sets.wrong(line, f"phase {shown(word)} is none of {', '.join(PHASES)}")
        experts = _listed(sets, line, row, "experts", partial(sets.numbers, line, "expert")) or []
        weights = _listed(sets, line, row, "weights", partial(sets.floats, line, "weights"))
        if weights is not None and not experts:
            weights = [0.0] * sets.model.top_k
        name = row["request"].strip()
        number = name.isascii() and name.isdigit() and len(name) < 10
        sets.add(
            line,
            int(name) if number else name,
            sets.number(line, "position", row["position"]),
            sets.number(line, "layer", row["layer"]),
            experts,
            phase=PHASES.index(word),
            weights=weights,
            absent=not experts,
        )
        if "token_id" in row:
            tokens.append(sets.number(line, "token_id", row["token_id"]))
    phased = "phase" in (beside or ())
    phases = "as the file says" if phased else "all decode"
    trace = sets.trace(phased=phased, format=format, phases=phases)
    if tokens:
        trace.token_id = sets.by_row(np.array(tokens, np.int32), "token_id")
    return trace if phased else noted(trace, UNPHASED)


def _listed(
    sets: RoutedSets, line: int, row: dict[str, str], name: str, read: Callable[[str], list[Any]]
) -> list[Any] | None:
    """The experts or the weights of a row, from a list in one column, a column each, or both."""
    apart = _apart(tuple(row), name)
    for at, one in enumerate(apart):
        if not one.endswith(f"_{at}"):
            raise sets.wrong(line, f"no {name[:-1]}_{at}, but {one}")
    whole = read(row[name]) if name in row else None
    if not apart:
        return whole
    each = read(" ".join(row[one] for one in apart))
    if whole is not None and not np.array_equal(whole, each, equal_nan=True):
        raise sets.wrong(line, f"{name} {shown(whole)}, but {shown(each)} in {apart[0]}, ...")
    return each


@lru_cache
def _apart(names: tuple[str, ...], what: str) -> list[str]:
    """Which of a row's columns have one expert, or weight, each, in their order."""
    ones = (_ONE.fullmatch(name) for name in names)
    found = {int(one[2]): one[0] for one in ones if one and what.startswith(one[1])}
    return [name for _, name in sorted(found.items())]
