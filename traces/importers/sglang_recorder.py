"""SGLang's expert distribution recorder in mode ``per_token``: one ``.pt`` file a rank.

``records``, one a forward pass: ``topk_ids_of_layer`` [layers, tokens, 8] of physical experts (-1
pads, and stands in layers without a router), ``input_ids``, ``positions``, ``extend_seq_lens``,
``forward_mode``. ``last_physical_to_logical_map`` gives the model's own experts; it is the last
one, so a recording over a rebalancing is wrong, which nobody can see. Under tensor parallelism all
ranks hold the same: import one.

Requests have no name. An extend's sequence at position 0 is a new one; further on it continues
the last sequence of the extend before it where that ends there (SGLang cuts one prompt at a time),
else it is new, with a cached prefix. A decode pass has the running requests in their order, each at
its next position; those that are not in it have ended. Where another request was at the same
position, which of them ended is a guess, and noted.

The layout is that of python/sglang/srt/eplb/expert_distribution.py; no file was at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers import torch_file
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_array import routed_array
from prefetch_sim.traces.importers.source import zip_names
from prefetch_sim.traces.importers.tidy import noted, take
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import DECODE, PREFILL, Array, Trace, TraceError, TraceMeta

FORMAT = "sglang-recorder"
_EXTEND, _DECODE, _MIXED, _IDLE = 1, 2, 3, 4  # ForwardMode; others verify or make drafts


@dataclass
class _Requests:
    """Tells which request each row of each pass is of."""

    running: list[tuple[int, int]] = field(default_factory=list)  # (request, next position)
    known: int = 0
    cut: int | None = None  # the request whose prompt may go on in the next extend
    guesses: int = 0

    def extend(self, first: int, tokens: int) -> tuple[int, int]:
        """Request and phase of one sequence of an extend or mixed pass."""
        decoding = [r for r, at in self.running if at == first and r != self.cut]
        at = dict(self.running)
        if first and self.cut is not None and at.get(self.cut) == first:
            request, phase = self.cut, PREFILL
        elif first and tokens == 1 and decoding:
            request, phase = decoding[0], DECODE
            self.guesses += len(decoding) > 1
        else:
            request, phase = self.known, PREFILL
            self.known += 1
        self.running = [one for one in self.running if one[0] != request]
        self.running.append((request, first + tokens))
        return request, phase

    def decode(self, positions: list[int]) -> list[int]:
        """The request of each row of a decode pass."""
        found, left, start = [], list(self.running), 0
        for position in positions:
            order = [*range(start, len(left)), *range(start)]
            index = next((i for i in order if left[i][1] == position), None)
            if index is None:  # it began before the recording did
                found.append((self.known, position + 1))
                self.known += 1
            else:
                found.append((left.pop(index)[0], position + 1))
                start = index
        if any(request == self.cut for request, _ in found):
            self.cut = None  # its prompt was whole
        at = set(positions)
        self.guesses += sum(next_position in at for _, next_position in left)
        self.running = found + [one for one in left if one[0] == self.cut]
        return [request for request, _ in found]


def matches(head: bytes, path: Path) -> bool:
    """A zip as torch writes it."""
    return any(name.endswith("/data.pkl") for name in zip_names(head, path))


def read(path: Path, asked: Asked) -> Trace:
    """Every request of one rank, of the model that the file does not name."""
    model = asked.require_model(path)
    content = torch_file.load(path)
    records = content.get("records") if isinstance(content, dict) else None
    if not isinstance(records, list) or not records:
        counts = isinstance(content, dict) and "logical_count" in content
        why = "counts of mode stat are no trace" if counts else "no list 'records' in it"
        raise TraceError(f"{path}: {why}; record with mode per_token")
    logical = content.get("last_physical_to_logical_map")
    requests = _Requests()
    columns: dict[str, list[Any]] = {"request": [], "position": [], "phase": [], "token": []}
    experts = []
    for number, record in enumerate(records):
        place = f"{path}: record {number}"
        chosen, positions, tokens, mode = _parts(place, record)
        if mode == _IDLE or not len(positions):
            continue
        if mode == _DECODE:
            of = requests.decode(positions)
            phases = [DECODE] * len(positions)
        elif mode in (_EXTEND, _MIXED):
            of, phases = _extend(place, requests, record.get("extend_seq_lens"), positions)
        else:
            raise TraceError(f"{place}: forward mode {mode} (drafts) is no prefill and no decode")
        experts.append(_experts(path, place, model, chosen, logical))
        for name, values in zip(columns, (of, positions, phases, tokens)):
            columns[name] += values
    if not experts:
        raise TraceError(f"{path}: no token in it")
    rows = {name: np.array(values, np.int64) for name, values in columns.items()}
    trace = Trace(
        path=path,
        meta=TraceMeta(model=model, recorded={"source": path.name, "format": FORMAT}),
        request_id=rows["request"].astype(np.int32),
        position=rows["position"].astype(np.int32),
        phase=rows["phase"].astype(np.int8),
        token_id=rows["token"].astype(np.int32),
        experts=np.concatenate(experts),
        weights=None,
    )
    trace = take(trace, np.lexsort((rows["position"], rows["request"])))
    if requests.guesses:
        note = f"which of several requests had ended is a guess, {requests.guesses} times"
        trace = noted(trace, note)
    return trace


def _parts(place: str, record: Any) -> tuple[Array, list[int], list[int], int]:
    """Experts [layers, tokens, slots], positions, tokens and mode of a record."""
    if not isinstance(record, dict) or "topk_ids_of_layer" not in record:
        raise TraceError(f"{place}: no topk_ids_of_layer; record with mode per_token")
    try:
        chosen = np.asarray(record["topk_ids_of_layer"])
        positions = [int(p) for p in record["positions"]]
        tokens = [int(t) for t in record["input_ids"]]
        mode = int(record["forward_mode"])
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise TraceError(f"{place}: {type(error).__name__}: {shown(str(error))}") from None
    if chosen.ndim != 3 or chosen.dtype.kind not in "iu":
        raise TraceError(f"{place}: topk_ids_of_layer has shape {chosen.shape}")
    if not chosen.shape[1] == len(positions) == len(tokens):
        raise TraceError(
            f"{place}: {chosen.shape[1]} tokens routed, {len(positions)} positions, "
            f"{len(tokens)} input_ids"
        )
    outside = [n for n in (*positions, *tokens) if not 0 <= n < 2**31]
    if outside:
        raise TraceError(f"{place}: position or token {shown(outside[0])} is out of range")
    return chosen, positions, tokens, mode


def _extend(
    place: str, requests: _Requests, lengths: Any, positions: list[int]
) -> tuple[list[int], list[int]]:
    """Request and phase of each row of a pass over several prompts."""
    if not isinstance(lengths, list) or any(type(n) is not int or n < 0 for n in lengths):
        raise TraceError(f"{place}: expected a list of lengths as extend_seq_lens")
    if sum(lengths) != len(positions):
        raise TraceError(f"{place}: extend_seq_lens add up to {sum(lengths)} of {len(positions)}")
    of: list[int] = []
    phases: list[int] = []
    start, request = 0, None
    for length in lengths:
        here = positions[start : start + length]
        start += length
        if not here:
            continue
        if here != list(range(here[0], here[0] + length)):
            raise TraceError(f"{place}: positions of a sequence do not count up by one")
        request, phase = requests.extend(here[0], length)
        of += [request] * length
        phases += [phase] * length
    requests.cut = request
    return of, phases


def _experts(path: Path, place: str, model: ModelSpec, chosen: Array, logical: Any) -> Array:
    """The model's experts [tokens, layers, top-k] of physical ones [layers, tokens, slots]."""
    k = model.top_k
    if (chosen[:, :, k:] >= 0).any():
        raise TraceError(f"{place}: more than {k} experts a token, model {model.name} is top-{k}")
    chosen = chosen[:, :, :k]
    if logical is not None:
        try:
            table = np.asarray(logical)
        except (TypeError, ValueError, RuntimeError):
            why = "last_physical_to_logical_map is no table of numbers"
            raise TraceError(f"{place}: {why}") from None
        whole = table.ndim == 2 and table.dtype.kind in "iu"
        if not whole or len(table) != len(chosen) or (chosen >= table.shape[1]).any():
            raise TraceError(f"{place}: last_physical_to_logical_map does not fit: {table.shape}")
        known = np.take_along_axis(table, np.maximum(chosen, 0).reshape(len(chosen), -1), 1)
        chosen = np.where(chosen < 0, -1, known.reshape(chosen.shape))
    return routed_array(path, model, "topk_ids_of_layer", np.moveaxis(chosen, 0, 1))
