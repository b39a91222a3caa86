"""What vLLM returns with ``--enable-return-routed-experts``, saved as npz or npy.

vLLM writes no file; its arrays, int16 [tokens, MoE layers, top-k], are expected under the names
that they have there:

- ``prompt_routed_experts`` (RequestOutput): the prompt, becomes prefill;
- ``routed_experts`` (CompletionOutput): what was generated, becomes decode. The last token has no
  row, as it is never fed back; a row of zeros that stands for it is left out;
- ``prompt_token_ids``, ``token_ids``: optional, the tokens.

A suffix ``_0``, ``_1``, ... tells requests apart. Before version 0.21 ``routed_experts`` held the
prompt too: without ``prompt_routed_experts``, its first rows are the prompt if
``prompt_token_ids`` says how many they are; else, and in an npy, all is decode. Zeros or -1
that stand for layers without a router are skipped. Where -1 stands for every expert of a token
(padding, a cached prefix) it was not routed. Weights are not returned.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from prefetch_sim.traces.arrays import map_npy, read_npz
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_array import routed_array
from prefetch_sim.traces.importers.source import npz_arrays, read_head
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.states import KINDS
from prefetch_sim.traces.trace import DECODE, PREFILL, Array, Trace, TraceError, TraceMeta

FORMAT = "vllm"
_PROMPT, _GENERATED = "prompt_routed_experts", "routed_experts"
_TOKENS = ("prompt_token_ids", "token_ids")
_NAME = re.compile(rf"({_PROMPT}|{_GENERATED}|{'|'.join(_TOKENS)})(?:_(\d{{1,9}}))?")
_NPY = b"\x93NUMPY"


def matches(head: bytes, path: Path) -> bool:
    """A numpy array, or a zip that holds one of routed experts."""
    if head.startswith(_NPY):
        return True
    found = (_NAME.fullmatch(name) for name in npz_arrays(head, path))
    return any(name and name[1] in (_PROMPT, _GENERATED) for name in found)


def read(path: Path, asked: Asked) -> Trace:
    """Every request of the file, of the model that it does not name."""
    model = asked.require_model(path)
    requests = _load(path)
    experts, phase, tokens = [], [], []
    for request in sorted(requests):
        arrays = requests[request]
        prompt, generated = (_routed(path, model, arrays, name) for name in (_PROMPT, _GENERATED))
        told, answered = (arrays.get(name) for name in _TOKENS)
        if _PROMPT not in arrays and told is not None:
            prompt, generated = generated[: len(told)], generated[len(told) :]
        if model.top_k > 1 and len(generated) and not generated[-1].any():
            generated = generated[:-1]
        experts += [prompt, generated]
        phase += [np.full(len(prompt), PREFILL), np.full(len(generated), DECODE)]
        for name, ids, routed, spare in zip(_TOKENS, (told, answered), (prompt, generated), (0, 1)):
            if ids is not None and not len(routed) <= len(ids) <= len(routed) + spare:
                raise TraceError(
                    f"{path}: request {request}: {len(ids)} {name} for {len(routed)} routed tokens"
                )
        if told is not None and answered is not None:
            tokens += [told[: len(prompt)], answered[: len(generated)]]
    length = [len(a) + len(b) for a, b in zip(experts[::2], experts[1::2])]
    complete = len(tokens) == len(experts)
    return Trace(
        path=path,
        meta=TraceMeta(model=model, recorded={"source": path.name, "format": FORMAT}),
        request_id=np.repeat(np.array(sorted(requests), np.int32), length),
        position=np.concatenate([np.arange(n, dtype=np.int32) for n in length]),
        phase=np.concatenate(phase).astype(np.int8),
        token_id=np.concatenate(tokens).astype(np.int32) if complete else None,
        experts=np.concatenate(experts).astype(np.int16),
        weights=None,
    )


def _routed(path: Path, model: ModelSpec, arrays: dict[str, Array], name: str) -> Array:
    """The array ``name`` of a request, checked against ``model`` and without dense layers."""
    layers, _, top_k = model.topology
    return routed_array(path, model, name, arrays.get(name, np.empty((0, layers, top_k), np.int16)))


def _load(path: Path) -> dict[int, dict[str, Array]]:
    """The arrays of each request by name."""
    if read_head(path).startswith(_NPY):
        return {0: {_GENERATED: _integers(path, _GENERATED, map_npy(path))}}
    requests: dict[int, dict[str, Array]] = {}
    for key, array in read_npz(path, _NAME.fullmatch).items():
        found = _NAME.fullmatch(key)
        assert found is not None
        request, name = int(found[2] or 0), found[1]
        arrays = requests.setdefault(request, {})
        if name in arrays:
            raise TraceError(f"{path}: request {request} has {name} twice: {key!r} and one more")
        arrays[name] = _integers(path, name, array)
    for request, arrays in requests.items():
        if _PROMPT not in arrays and _GENERATED not in arrays:
            raise TraceError(f"{path}: request {request} has no array {_GENERATED!r}")
    if not requests:
        raise TraceError(f"{path}: no array {_GENERATED!r} or {_PROMPT!r}")
    return requests


def _integers(path: Path, name: str, array: Array) -> Array:
    if path.suffix == ".npy" and path.stem.endswith(KINDS):
        raise TraceError(f"{path}: states beside a captured trace; the trace is its folder")
    dimensions = 1 if name in _TOKENS else 3
    if array.ndim != dimensions or array.dtype.kind not in "iu":
        raise TraceError(
            f"{path}: {name} is {array.dtype} with {array.ndim} dimensions, expected integers "
            f"with {dimensions}"
        )
    limits = np.iinfo(np.int32)
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise TraceError(f"{path}: {name} holds numbers of more than 32 bits")
    return array
