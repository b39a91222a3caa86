"""TensorRT-LLM's raw expert statistics (examples/wide_ep): ``rank*_raw.safetensors``.

A tensor ``<iteration>_<layer>`` holds the experts of every token of that pass, [tokens, top-k];
``meta_info.json`` beside it the experts and top-k. A folder is read with all of its ranks, one
after another. Whose tokens an iteration has is not said (``passes.py``). The files without
``_raw`` hold counts, and are no routing.

The layout is that of the repository's own reader (utils.py there); no file was at hand.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prefetch_sim.traces.errors import needs
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.joining import join
from prefetch_sim.traces.importers.passes import Call, PassReader, add_passes
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import parse_json, read_text
from prefetch_sim.traces.trace import Trace, TraceError

FORMAT = "tensorrt-llm"
_KEY = re.compile(r"(\d{1,9})_(\d{1,9})")
_START = re.compile(rb'.{8}\{(?:"__metadata__":\{[^{}]*\},)?"\d+_\d+":\{', re.DOTALL)
_RAW = "rank*_raw.safetensors"


def matches(head: bytes, path: Path) -> bool:
    """A safetensors file whose first tensor is an iteration's layer, or a folder of such ranks."""
    if path.is_dir():
        return any(path.glob(_RAW))
    return _START.match(head) is not None


def read(path: Path, asked: Asked) -> Trace:
    """One rank's passes, or those of all ranks in a folder, of the model that is not named."""
    if not path.is_dir():
        return _rank(path, asked)
    ranks = sorted(path.glob(_RAW), key=lambda file: (len(file.name), file.name))
    if not ranks:
        raise TraceError(f"{path}: no {_RAW} in it")
    about = path / "meta_info.json"
    if about.exists():
        _check(about, asked)
    traces = [_rank(rank, asked) for rank in ranks]
    return traces[0] if len(traces) == 1 else join(path, traces)


def _rank(path: Path, asked: Asked) -> Trace:
    sets = RoutedSets(path, asked, unit="iteration")
    passes: dict[int, list[Call]] = {}
    for (iteration, layer), tensor in sorted(_tensors(path).items()):
        if tensor.ndim != 2 or tensor.dtype.kind not in "iu":
            raise sets.wrong(
                iteration,
                f"layer {layer} is {tensor.dtype} with {tensor.ndim} dimensions, expected whole "
                "numbers [tokens, top-k]; files without _raw hold counts, which are no trace",
            )
        passes.setdefault(iteration, []).append(Call(iteration, layer, tensor.tolist()))
    computed = [calls for calls in passes.values() if any(call.experts for call in calls)]
    add_passes(sets, PassReader(asked, sets.wrong), computed)
    return sets.trace(format=FORMAT, phases="by tokens a pass: one is decode")


def _tensors(path: Path) -> dict[tuple[int, int], Any]:
    """Experts by iteration and layer."""
    try:
        from safetensors.numpy import load_file
    except ImportError:
        raise TraceError(f"{path}: {needs('safetensors', 'capture')}") from None
    try:
        named = load_file(path)
    except Exception as error:  # whatever a damaged header, or a type that numpy lacks, comes to
        reason = " ".join(str(error).split())[:200]
        raise TraceError(f"{path}: not readable as safetensors: {reason}") from None
    found: dict[tuple[int, int], Any] = {}
    for name, tensor in named.items():
        key = _KEY.fullmatch(name)
        if key is None:
            raise TraceError(f"{path}: tensor {name[:60]!r} is not named ITERATION_LAYER")
        place = int(key[1]), int(key[2])
        if place in found:
            raise TraceError(f"{path}: iteration {place[0]}: layer {place[1]} is there twice")
        found[place] = tensor
    return found


def _check(path: Path, asked: Asked) -> None:
    about, model = parse_json(read_text(path), str(path)), asked.require_model(path)
    for key, has in (("num_experts", model.experts), ("num_experts_per_token", model.top_k)):
        said = about.get(key) if isinstance(about, dict) else None
        if said is not None and said != has:
            raise TraceError(f"{path}: {key} is {str(said)[:20]}, of model {model.name} {has}")
