"""MoE-Beyond's recordings: CSV, one row a token and layer, layer after layer.

``Layer ID, Batch Number, Token, Activated Expert IDs``; other columns (embeddings) are ignored.
Experts are a list in one field: ``[1, 2, 3]``, ``1,2,3``, ``1 2 3`` or ``1;2;3``. A batch becomes a
request and the nth row of a batch and layer its nth token; token strings are numbered in order of
first use. Experts stay in the file's order, which need not be that of their weights. A last layer
of one row has that of the last token.

Files with ``Predicted Expert IDs`` have no batch, all is one request, and a ``Token`` that is the
token's number. Of either kind some may have what the other has.

They were recorded in one pass over the prompt. Under causal attention a token is routed as it
would be when that text is decoded, and that is how MoE-Beyond replays them: all rows are decode.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import csv_columns, read_csv
from prefetch_sim.traces.trace import Prediction, PredictionInfo, Trace

FORMAT = "moe-beyond"
_COLUMNS = ("layer id", "token", "activated expert ids")
_BATCH, _PREDICTED = "batch number", "predicted expert ids"
_INFO = PredictionInfo(
    trigger="layer_start",
    distance=0,
    flops=0,
    bytes=0,
    description="recorded by MoE-Beyond; when it ran, its cost, scores and training are unknown: "
    "taken to speak at the start of the layer, at no cost, equally sure of all",
)


def matches(head: bytes, path: Path) -> bool:
    """CSV with the three columns that every file has."""
    return csv_columns(head).keys() >= set(_COLUMNS)


def read(path: Path, asked: Asked) -> Trace:
    """Every batch of the file, of the model that it does not name."""
    sets = RoutedSets(path, asked)
    token_ids: list[int] = []
    predicted: list[list[int]] = []
    rows = list(read_csv(path, _COLUMNS))
    counted = not rows or _BATCH in rows[0][1] or not rows[0][1]["token"].strip().isdecimal()
    position = _positions(sets, rows)
    width = 0
    for line, row in rows:
        batch, layer = _place(sets, line, row)
        experts = sets.numbers(line, "expert", row["activated expert ids"])
        at = position[batch, layer] if counted else sets.number(line, "token", row["token"])
        sets.add(line, batch, at, layer, experts)
        position[batch, layer] += 1
        token_ids.append(asked.number(row["token"]) if counted else 0)
        if named := sets.numbers(line, "expert", row.get(_PREDICTED, "")):
            width = width or len(named)  # one for all: a trace's column has no other
            sets.check(line, named, width, "predicted experts")
        predicted.append(named)
    trace = sets.trace(phased=False, format=FORMAT, phases="one pass over the prompt, as decode")
    if counted:
        trace.token_id = sets.by_row(np.array(token_ids, np.int32), "token")
    if width:
        silent = [-1] * width
        ids = sets.scatter(np.array([named or silent for named in predicted], np.int16), -1)
        trace.predictions = {"moe-beyond": Prediction(_INFO, ids, (ids >= 0).astype(np.float16))}
        trace.meta = trace.meta.model_copy(update={"predictions": {"moe-beyond": _INFO}})
    return trace


def _place(sets: RoutedSets, line: int, row: dict[str, str]) -> tuple[int, int]:
    """Batch and layer of a row."""
    batch = sets.number(line, _BATCH, row.get(_BATCH, "0"))
    return batch, sets.number(line, "layer id", row["layer id"])


def _positions(sets: RoutedSets, rows: list[tuple[int, dict[str, str]]]) -> Counter[Any]:
    """Where each batch and layer begins: at 0, but for a last layer of the last token alone."""
    count = Counter(_place(sets, line, row) for line, row in rows)
    last = max((layer for _, layer in count), default=0)
    longest: Counter[int] = Counter()
    for (batch, _), tokens in count.items():
        longest[batch] = max(longest[batch], tokens)
    return Counter(
        {(batch, last): most - 1 for batch, most in longest.items() if count[batch, last] == 1}
    )
