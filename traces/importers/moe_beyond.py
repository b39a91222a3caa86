"""MoE-Beyond's recordings: CSV, one row a token and layer, layer after layer.

``Layer ID, Batch Number, Token, Activated Expert IDs``, and where a predictor ran
``Predicted Expert IDs``; other columns (embeddings) are ignored. Experts are a list in one field:
``[1, 2, 3]``, ``1,2,3``, ``1 2 3`` or ``1;2;3``. A batch becomes a request and the nth row of a
batch and layer its nth token; token strings are numbered in order of first use. Experts stay in
the file's order, which need not be that of their weights.

They were recorded in one pass over the prompt. Under causal attention a token is routed as it
would be when that text is decoded, and that is how MoE-Beyond replays them: all rows are decode.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import read_text
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import Prediction, PredictionInfo, Trace, TraceError

_COLUMNS = ("layer id", "batch number", "token", "activated expert ids")
_PREDICTED = "predicted expert ids"
_APART = str.maketrans("[](),;", " " * 6)
_INFO = PredictionInfo(
    trigger="layer_start",
    distance=0,
    flops=0,
    bytes=0,
    description="recorded by MoE-Beyond; when it ran, its cost, scores and training are unknown: "
    "taken to speak at the start of the layer, at no cost, equally sure of all",
)


def matches(head: bytes, path: Path) -> bool:
    """CSV with the four columns that every file has."""
    first = head.decode(errors="replace").split("\n", 1)[0]
    return set(_header(first.split(","))).issuperset(_COLUMNS)


def read(path: Path, model: ModelSpec | None) -> Trace:
    """Every batch of the file, of the ``model`` that it does not name."""
    sets = RoutedSets(path, model)
    tokens: dict[str, int] = {}
    token_ids: list[int] = []
    predicted: list[list[int]] = []
    position: Counter[tuple[int, int]] = Counter()
    width = 0
    for line, row in _rows(path):
        layer, batch = (_number(sets, line, name, row[name]) for name in _COLUMNS[:2])
        experts = _experts(sets, line, row["activated expert ids"])
        sets.add(line, batch, position[batch, layer], layer, experts)
        position[batch, layer] += 1
        token_ids.append(tokens.setdefault(row["token"], len(tokens)))
        if named := _experts(sets, line, row.get(_PREDICTED, "")):
            width = width or len(named)  # one for all: a trace's column has no other
            sets.check(line, named, width, "predicted experts")
        predicted.append(named)
    trace = sets.trace(format="moe-beyond", phases="one pass over the prompt, as decode")
    trace.token_id = sets.by_row(np.array(token_ids, np.int32), "token")
    if width:
        silent = [-1] * width
        ids = sets.scatter(np.array([named or silent for named in predicted], np.int16), -1)
        trace.predictions = {"moe-beyond": Prediction(_INFO, ids, (ids >= 0).astype(np.float16))}
        trace.meta = trace.meta.model_copy(update={"predictions": {"moe-beyond": _INFO}})
    return trace


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of each row, by the name of their column."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = _header(next(reader, []))
        for name in _COLUMNS:
            if name not in header:
                raise TraceError(f"{path}: line 1: no column {name!r}")
        for fields in reader:
            if len(fields) != len(header):
                message = f"{len(fields)} fields, expected {len(header)}"
                raise TraceError(f"{path}: line {reader.line_num}: {message}")
            yield reader.line_num, dict(zip(header, fields))
    except csv.Error as error:
        raise TraceError(f"{path}: line {reader.line_num}: {error}") from None


def _header(fields: list[str]) -> list[str]:
    return [field.strip().strip('"').lower() for field in fields]


def _experts(sets: RoutedSets, line: int, text: str) -> list[int]:
    return [_number(sets, line, "expert", word) for word in text.translate(_APART).split()]


def _number(sets: RoutedSets, line: int, name: str, text: str) -> int:
    digits = text.strip()
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise sets.wrong(line, f"{name} {text!r} is not a whole number")
    return int(digits)
