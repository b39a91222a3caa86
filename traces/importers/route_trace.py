"""BigMoeOnEdge ``route_trace v1``: CSV of every routed slot, as the engine chose it on the device.

A preamble gives the model and each layer's expert bytes; then rows of ``turn, phase, step,
layer, slot, expert, weight, residency, expert_bytes``. Columns are read by name, so that more may
be appended.

A turn becomes a request and a step a row at that position. In prefill a step is one prompt token
(the engine writes layer by layer, the rows here are token by token: a prefill is replayed as one
batched pass either way). In the last layer the engine routes only the last prompt token: the
others have no set there.

An expert that the device ``dropped`` never ran: it is neither hit nor load. A set holds exactly
top-k experts; so where every set lost as many, top-k is what is left, and else the file is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from prefetch_sim.traces.errors import describe, did_you_mean, shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.known_models import BY_ARCHITECTURE
from prefetch_sim.traces.importers.source import read_text
from prefetch_sim.traces.importers.tidy import NOTES
from prefetch_sim.traces.models.precision import NAMES, Precision
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import DECODE, Array, Trace, TraceError, TraceMeta

FORMAT = "route_trace"
_MARK = "# route_trace v1"
_INTEGERS = ("turn", "phase", "step", "layer", "slot", "expert")
_COLUMNS = (*_INTEGERS, "weight")
_READ = (*_COLUMNS, "expert_bytes", "residency", "dropped")
_IGNORED = ("lane",)  # which thread read the expert
_SETTING = re.compile(r"(\w+)=(\S*)")


def matches(head: bytes, path: Path) -> bool:
    """Text that opens with the format's name and version."""
    return head.decode(errors="replace").split("\n", 1)[0].strip() == _MARK


def read(path: Path, asked: Asked) -> Trace:
    """The recording with its own top-k and expert bytes; other widths of ``model`` or known."""
    lines = read_text(path).splitlines()
    start = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    spec = _model(path, lines[:start], asked.model)
    cells, numbers, unknown = _table(path, lines, start)
    layers, count, top_k = spec.topology
    moe_layer = _moe_layers(path, spec, cells["layer"], numbers)

    steps = np.stack([cells["turn"], cells["step"]], axis=1)
    keys, row = np.unique(steps, axis=0, return_inverse=True)
    row = row.reshape(-1)
    outside = (cells["slot"] < 0) | (cells["slot"] >= top_k)
    _refuse(path, numbers, outside, lambda i: f"slot {cells['slot'][i]} out of 0..{top_k - 1}")
    expert = cells["expert"]
    outside = (expert < 0) | (expert >= count)
    _refuse(path, numbers, outside, lambda i: f"expert {expert[i]} out of range 0..{count - 1}")
    place = (row * layers + moe_layer) * top_k + cells["slot"]
    _refuse(path, numbers, _repeated(place), lambda i: "the same turn, step, layer and slot again")
    phase = np.empty(len(keys), np.int8)
    phase[row] = cells["phase"]
    _refuse(path, numbers, phase[row] != cells["phase"], lambda i: "phase differs within a step")

    experts = np.full((len(keys), layers, top_k), -1, np.int16)
    weights = np.zeros((len(keys), layers, top_k))
    experts.reshape(-1)[place] = expert
    weights.reshape(-1)[place] = cells["weight"]
    recorded = {"source": path.name, "format": "route_trace v1", **_device_hits(cells)}
    notes = [f"columns not read: {', '.join(unknown)}"[:200]] if unknown else []
    if "dropped" in cells and (cells["dropped"] > 0).any():
        gone = place[cells["dropped"] > 0]
        experts.reshape(-1)[gone] = -1
        experts, weights = _kept(path, experts, weights)
        spec = spec.model_copy(update={"top_k": experts.shape[2]})
        notes.append(
            f"{len(gone)} experts that the device dropped left out: top-{spec.top_k} of {top_k}"
        )
    if notes:
        recorded[NOTES] = "; ".join(notes)
    return Trace(
        path=path,
        meta=TraceMeta(model=spec, recorded=recorded),
        request_id=keys[:, 0].astype(np.int32),
        position=keys[:, 1].astype(np.int32),
        phase=phase,
        token_id=None,
        experts=experts,
        weights=weights,
    )


def _model(path: Path, preamble: list[str], given: ModelSpec | None) -> ModelSpec:
    """The preamble's layers, experts, top-k and expert bytes on the shape of a known model."""
    about: dict[str, str] = {}
    sizes: dict[int, int] = {}
    for number, line in enumerate(preamble, start=1):
        settings = dict(_SETTING.findall(line))
        try:
            if "expert_bytes" in settings:
                sizes[int(settings["layer"])] = int(settings["expert_bytes"])
        except (KeyError, ValueError):
            raise TraceError(f"{path}: line {number}: expected layer= and expert_bytes=") from None
        about |= settings
    counts = []
    for key in ("n_layer", "n_expert", "n_expert_used"):
        if not re.fullmatch(r"[0-9]{1,9}", about.get(key, "")):
            raise TraceError(f"{path}: the preamble has no whole number {key}=")
        counts.append(int(about[key]))
    layers, experts, top_k = counts
    shape = given or _known(path, about.get("arch", ""), layers, experts)
    if (shape.layers, shape.experts) != (layers, experts):
        raise TraceError(
            f"{path}: {layers} layers of {experts} experts, but model {shape.name} has "
            f"{shape.layers} of {shape.experts}"
        )
    missing = [layer for layer in shape.moe_layer_indices if layer not in sizes]
    if missing:
        raise TraceError(f"{path}: the preamble has no expert_bytes of layer {missing[0]}")
    name = PurePosixPath(about.get("model", shape.name)).stem
    changed = {
        "name": name,
        "top_k": top_k,
        "precision": _stored(name).over(shape.precision).model_dump(),
        "expert_bytes": tuple(sizes[layer] for layer in shape.moe_layer_indices),
    }
    try:
        return ModelSpec.model_validate(shape.model_dump() | changed)
    except ValidationError as error:
        reason = describe(error, ModelSpec)
        raise TraceError(f"{path}: the preamble is inconsistent: {reason}") from None


def _stored(name: str) -> Precision:
    """What the file of a model is in, as its name ends: all of it, or else 4 bits for experts."""
    for mix in NAMES:
        if name.lower().endswith(mix.lower()):
            return Precision.of(mix)
    return Precision(experts="int4")


def _known(path: Path, architecture: str, layers: int, experts: int) -> ModelSpec:
    if architecture not in BY_ARCHITECTURE:
        near = did_you_mean(architecture, BY_ARCHITECTURE)
        raise TraceError(f"{path}: shape of arch={architecture} unknown, name a model{near}")
    for shape in BY_ARCHITECTURE[architecture]:
        if (shape.layers, shape.experts) == (layers, experts):
            return shape
    raise TraceError(
        f"{path}: no known arch={architecture} has {layers} layers of {experts} experts; "
        "name a model"
    )


def _table(path: Path, lines: list[str], start: int) -> tuple[dict[str, Array], Array, list[str]]:
    """Numeric columns by name, the line number of each row, and columns that nobody knows."""
    if start == len(lines):
        raise TraceError(f"{path}: no header line")
    header = lines[start].split(",")
    for name in _COLUMNS:
        if name not in header:
            near = did_you_mean(name, header)
            raise TraceError(f"{path}: line {start + 1}: no column {name!r}{near}")
    numbers, rows = [], []
    for number, line in _rows(lines, start + 1):
        if line.count(",") != len(header) - 1:
            raise TraceError(
                f"{path}: line {number}: {line.count(',') + 1} fields, expected {len(header)}"
            )
        numbers.append(number)
        rows.append(line)
    if not rows:
        raise TraceError(f"{path}: no rows after line {start + 1}")
    wanted = [name for name in _READ if name in header]
    text = io.StringIO("\n".join(rows))
    frame = pd.read_csv(
        text,
        names=header,
        usecols=wanted,
        dtype=str,
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
    )
    at = np.array(numbers)
    cells = {}
    for name in wanted:
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
        bad = np.isnan(values)
        if name == "weight":  # nan: the engine did not see it
            bad &= ~frame[name].str.strip().str.lower().isin(["nan", "-nan"]).to_numpy()
        else:
            bad |= (values != np.floor(values)) | (np.abs(values) >= 2**31)
        column = frame[name]
        _refuse(path, at, bad, lambda i, c=column, n=name: f"{n} {shown(c[i])} is not a number")
        cells[name] = values if name == "weight" else values.astype(np.int64)
    return cells, at, [name for name in header if name not in (*_READ, *_IGNORED)]


def _kept(path: Path, experts: Array, weights: Array) -> tuple[Array, Array]:
    """Sets without the experts that are -1, of the same size all."""
    here = experts >= 0
    sizes = np.unique(here.sum(axis=2)[here.any(axis=2)])
    if len(sizes) != 1:
        left = f"sets of {sizes[0]} to {sizes[-1]} experts" if len(sizes) else "no set"
        raise TraceError(
            f"{path}: the device dropped experts, which leaves {left}, and a trace holds sets of "
            "one size; record it without dropping"
        )
    order = np.argsort(~here, axis=2, kind="stable")[:, :, : int(sizes[0])]
    return np.take_along_axis(experts, order, 2), np.take_along_axis(weights, order, 2)


def _device_hits(cells: dict[str, Array]) -> dict[str, str]:
    """The device's own hit rates: of all accesses, and of those in decode.

    An access is a distinct expert of a layer: of the whole prompt in prefill, one batched pass,
    and of one token in decode. It missed if bytes were read for it, or if the device says so
    (residency 0) of every token that it served. What was dropped is no access.
    """
    if "expert_bytes" not in cells:
        return {}
    if "dropped" in cells:
        ran = cells["dropped"] == 0
        cells = {name: column[ran] for name, column in cells.items()}
    if not len(cells["expert"]):
        return {}
    decode = cells["phase"] == DECODE
    step = np.where(decode, cells["step"], -1)
    access = np.stack([cells["turn"], step, cells["layer"], cells["expert"]], axis=1)
    distinct, which = np.unique(access, axis=0, return_inverse=True)
    which = which.reshape(-1)
    missed = np.zeros(len(distinct), bool)
    missed[which[cells["expert_bytes"] > 0]] = True
    if "residency" in cells:
        resident = np.zeros(len(distinct), bool)
        resident[which[cells["residency"] > 0]] = True
        missed |= ~resident
    rates = {"device_hit_rate": missed, "device_decode_hit_rate": missed[distinct[:, 1] >= 0]}
    return {name: f"{1 - misses.mean():.6f}" for name, misses in rates.items() if len(misses)}


def _rows(lines: list[str], start: int) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines[start:], start=start + 1):
        if line and not line.startswith("#"):
            yield number, line


def _moe_layers(path: Path, model: ModelSpec, layer: Array, numbers: Array) -> Array:
    """The file counts transformer layers; a trace counts those that route."""
    index = np.full(model.layers, -1)
    index[list(model.moe_layer_indices)] = np.arange(model.moe_layers)
    outside = (layer < 0) | (layer >= model.layers)
    outside[~outside] = index[layer[~outside]] < 0
    _refuse(path, numbers, outside, lambda i: f"layer {layer[i]} is none of the model's routers")
    return np.asarray(index[layer])


def _repeated(place: Array) -> Array:
    again = np.ones(len(place), bool)
    again[np.unique(place, return_index=True)[1]] = False
    return again


def _refuse(path: Path, numbers: Array, wrong: Any, message: Any) -> None:
    """Raise for the first row that is wrong, naming its line."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TraceError(f"{path}: line {numbers[row]}: {message(row)}")
