"""FLAME-MoE's traces: a folder ``iter_NNNN`` of ``layer_NN.parquet``, one row a token.

``indices`` and ``scores``, lists of top-k, best first; row *i* of every layer is the same token,
and of the samples (``../../samples/*.parquet``, column ``token_id``) where they are as many. It is
routing of training: where a text begins is not recorded. All is one request, as decode.

The layout is that of the data set's card (CMU-FLAME/FLAME-MoE-Traces); no file was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.columns import ColumnError, read_flat, read_lists
from prefetch_sim.traces.errors import first_line
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.tidy import NOTES
from prefetch_sim.traces.parts import UNREADABLE, open_parquet
from prefetch_sim.traces.trace import DECODE, Array, Trace, TraceError, TraceMeta

FORMAT = "flame-moe"
_NAME = re.compile(r"layer_(\d{1,4})\.parquet")


def matches(head: bytes, path: Path) -> bool:
    """A folder of layers, or one layer of it by its name and place."""
    if path.is_dir():
        return bool(_layers(path))
    return head.startswith(b"PAR1") and _NAME.fullmatch(path.name) is not None


def read(path: Path, asked: Asked) -> Trace:
    """All tokens of one iteration, of the model that the files do not name."""
    model = asked.require_model(path)
    files = _layers(path) if path.is_dir() else []
    if not files:
        raise TraceError(f"{path}: one layer; name the folder that holds all of them")
    layers, experts, k = model.topology
    numbers = [number for number, _ in files]
    for (number, file), (again, other) in pairwise(files):
        if number == again:
            raise TraceError(f"{path}: {file.name} and {other.name} are one layer")
    if numbers not in (list(model.moe_layer_indices), list(range(layers))):
        given = f"layers {numbers[0]} to {numbers[-1]}"
        raise TraceError(
            f"{path}: {len(numbers)} layer files ({given}), model {model.name} {layers}"
        )
    ids, scores = [], []
    for _, file in files:
        ids.append(_column(file, "indices", k))
        scores.append(_column(file, "scores", k))
        if len(ids[-1]) != len(ids[0]):
            raise TraceError(f"{file}: {len(ids[-1])} tokens, other layers have {len(ids[0])}")
        outside = (ids[-1] < 0) | (ids[-1] >= experts)
        if outside.any():
            row, slot = np.argwhere(outside)[0].tolist()
            raise TraceError(
                f"{file}: row {row}: expert {ids[-1][row, slot]} out of range 0..{experts - 1}"
            )
    tokens, folder = len(ids[0]), path.resolve()  # it may be named as "."
    recorded = {"source": folder.name, "format": FORMAT, "phases": "training, as decode"}
    return Trace(
        path=path,
        meta=TraceMeta(
            model=model, recorded={NOTES: "where texts begin is unknown: one request", **recorded}
        ),
        request_id=np.zeros(tokens, np.int32),
        position=np.arange(tokens, dtype=np.int32),
        phase=np.full(tokens, DECODE, np.int8),
        token_id=_samples(folder.parent.parent / "samples", tokens),
        experts=np.stack(ids, 1).astype(np.int16),
        weights=np.stack(scores, 1),
    )


def _layers(folder: Path) -> list[tuple[int, Path]]:
    found = ((_NAME.fullmatch(file.name), file) for file in folder.glob("layer_*.parquet"))
    return sorted((int(name[1]), file) for name, file in found if name)


def _column(file: Path, name: str, width: int) -> Array:
    values = _read(file, name, read_lists)
    if values.ndim != 2 or values.shape[1] != width:
        has = f"top-{values.shape[1]}" if values.ndim == 2 else "lists of lists"
        raise TraceError(f"{file}: {name} has {has}, the model top-{width}")
    if name == "indices" and values.dtype.kind not in "iu":
        raise TraceError(f"{file}: indices holds {values.dtype}, expected whole numbers")
    return values


def _read(file: Path, name: str, of: Callable[[Any], Array]) -> Array:
    """Column ``name`` as ``of`` reads it."""
    opened = open_parquet(file)
    try:
        return of(opened.read(columns=[name]).column(name).combine_chunks())
    except ColumnError as error:
        raise TraceError(f"{file}: column {name}: {error}") from None
    except UNREADABLE as error:
        raise TraceError(f"{file}: no column {name!r} to read: {first_line(error)}") from None


def _samples(folder: Path, tokens: int) -> Array | None:
    """Token ids of all samples, where they are as many as were routed."""
    files = sorted(folder.glob("*.parquet"))
    found = [_read(file, "token_id", lambda column: read_flat(column, np.int32)) for file in files]
    together: Array = np.concatenate(found) if found else np.empty(0, np.int32)
    return together if len(together) == tokens else None
