"""GPT-OSS-20B decode routing as one npz: arrays over all tokens, offsets for the requests.

``expert_ids`` [T, L, k], ``expert_probs`` [T, L, k], ``request_offsets`` [requests + 1],
``token_local_id`` [T] and ``position`` [T]. Prefill was not recorded: every row is a decode row,
at its absolute position in the sequence.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prefetch_sim.traces.arrays import read_npz
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.known_models import GPT_OSS_20B
from prefetch_sim.traces.importers.source import npz_arrays
from prefetch_sim.traces.trace import DECODE, Array, Trace, TraceError, TraceMeta

FORMAT = "gpt-oss-npz"
# Dimensions of each array, and the kinds of number it may hold.
_ARRAYS = {
    "expert_ids": (3, "iu"),
    "expert_probs": (3, "f"),
    "request_offsets": (1, "iu"),
    "token_local_id": (1, "iu"),
    "position": (1, "iu"),
}


def matches(head: bytes, path: Path) -> bool:
    """A zip that holds an array of expert ids."""
    return "expert_ids" in npz_arrays(head, path)


def read(path: Path, asked: Asked) -> Trace:
    """Every request of the recording; ``model`` replaces the published shape of gpt-oss-20b."""
    arrays = _load(path)
    experts, tokens = arrays["expert_ids"], len(arrays["expert_ids"])
    for name in ("expert_probs", "token_local_id", "position"):
        shape = experts.shape[: arrays[name].ndim]
        if arrays[name].shape != shape:
            raise TraceError(f"{path}: {name} has shape {arrays[name].shape}, expected {shape}")
    model = asked.model or GPT_OSS_20B
    layers, count, top_k = model.topology
    if experts.shape[1:] != (layers, top_k):
        raise TraceError(
            f"{path}: expert_ids has {experts.shape[1]} layers of top-{experts.shape[2]}, model "
            f"{model.name} {layers} of top-{top_k}"
        )
    outside = (experts < -1) | (experts >= count)
    if outside.any():
        row, layer, slot = np.argwhere(outside)[0].tolist()
        raise TraceError(
            f"{path}: row {row}, layer {layer}: expert {experts[row, layer, slot]} out of range "
            f"0..{count - 1}"
        )
    for name in ("token_local_id", "position"):
        outside = (arrays[name] < 0) | (arrays[name] > np.iinfo(np.int32).max)
        if outside.any():
            row = int(np.argmax(outside))
            raise TraceError(f"{path}: row {row}: {name} {arrays[name][row]} is out of range")
    offsets = arrays["request_offsets"]
    inside = ((offsets >= 0) & (offsets <= tokens)).all()
    lengths: Array = np.diff(offsets.astype(np.int64), prepend=0, append=tokens)
    if not inside or lengths[0] or lengths[-1] or (lengths[1:-1] <= 0).any():
        raise TraceError(f"{path}: request_offsets do not rise from 0 to {tokens}")
    requests = np.arange(len(lengths) - 2, dtype=np.int32)
    recorded = {"source": path.name, "format": FORMAT, "phases": "decode only"}
    return Trace(
        path=path,
        meta=TraceMeta(model=model, recorded=recorded),
        request_id=np.repeat(requests, lengths[1:-1]),
        position=arrays["position"].astype(np.int32),
        phase=np.full(tokens, DECODE, np.int8),
        token_id=arrays["token_local_id"].astype(np.int32),
        experts=experts.astype(np.int16),
        weights=arrays["expert_probs"],
    )


def _load(path: Path) -> dict[str, Array]:
    there, arrays = read_npz(path, _ARRAYS.__contains__), dict[str, Array]()
    for name, (dimensions, kinds) in _ARRAYS.items():
        if name not in there:
            raise TraceError(f"{path}: no array {name!r}")
        array = there[name]
        if array.ndim != dimensions or array.dtype.kind not in kinds:
            raise TraceError(
                f"{path}: {name} is {array.dtype} with {array.ndim} dimensions, "
                f"expected {'floats' if kinds == 'f' else 'integers'} with {dimensions}"
            )
        arrays[name] = array
    return arrays
