"""What vLLM returns with ``--enable-return-routed-experts``, saved as npz or npy.

vLLM writes no file; its arrays, int16 [tokens, MoE layers, top-k], are expected under the names
that they have there:

- ``prompt_routed_experts`` (RequestOutput): the prompt, becomes prefill;
- ``routed_experts`` (CompletionOutput): what was generated, becomes decode. The last token has no
  row, as it is never fed back; a row of zeros that stands for it is left out;
- ``prompt_token_ids``, ``token_ids``: optional, the tokens;
- ``prompt_len``, ``prompt_tokens`` or ``num_prompt_tokens``: optional, how many the prompt has.

A suffix ``_0``, ``_1``, ... tells requests apart. Before version 0.21 ``routed_experts`` held the
prompt too: without ``prompt_routed_experts``, its first rows are the prompt if
``prompt_token_ids`` or a length says how many they are; else, and in an npy, all of that request is
decode, which is noted. An array of another name is refused: it might be the length. Zeros or -1
that stand for layers without a router are skipped. Where -1 stands for every expert of a token
(padding, a cached prefix) it was not routed. Weights are not returned.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from prefetch_sim.traces.arrays import map_npy, read_npz
from prefetch_sim.traces.errors import did_you_mean, shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_array import LENGTHS, routed_array
from prefetch_sim.traces.importers.source import npz_arrays, read_head
from prefetch_sim.traces.importers.tidy import noted
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.states import KINDS
from prefetch_sim.traces.trace import DECODE, PREFILL, Array, Trace, TraceError, TraceMeta

FORMAT = "vllm"
_PROMPT, _GENERATED = "prompt_routed_experts", "routed_experts"
_TOKENS = ("prompt_token_ids", "token_ids")
_KNOWN = (_PROMPT, _GENERATED, *_TOKENS, *LENGTHS)
_NAME = re.compile(rf"({'|'.join(_KNOWN)})(?:_(\d{{1,9}}))?")
_WOULD = f"({_TOKENS[0]}, {LENGTHS[0]} or {_PROMPT} would say it)"
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
    experts, phase, tokens, unsplit = [], [], [], []
    for request in sorted(requests):
        arrays = requests[request]
        prompt, generated = (_routed(path, model, arrays, name) for name in (_PROMPT, _GENERATED))
        told, answered = (arrays.get(name) for name in _TOKENS)
        length = _length(path, request, arrays)
        if _PROMPT not in arrays and length is not None:
            prompt, generated = generated[:length], generated[length:]
        if _PROMPT not in arrays and length is None:
            unsplit.append(request)
        if model.top_k > 1 and len(generated) and not generated[-1].any():
            generated = generated[:-1]
        experts += [prompt, generated]
        phase += [np.full(len(prompt), PREFILL), np.full(len(generated), DECODE)]
        for name, ids, routed, spare in zip(_TOKENS, (told, answered), (prompt, generated), (0, 1)):
            if ids is not None and not len(routed) <= len(ids) <= len(routed) + spare:
                raise TraceError(
                    f"{path}: request {request}: {len(ids)} {name} for {len(routed)} routed tokens"
                )
        if length not in (None, len(prompt)):
            raise TraceError(
                f"{path}: request {request}: a prompt of {length} tokens, {len(prompt)} are routed"
            )
        if told is not None and answered is not None:
            tokens += [told[: len(prompt)], answered[: len(generated)]]
    lengths = [len(a) + len(b) for a, b in zip(experts[::2], experts[1::2])]
    complete = len(tokens) == len(experts)
    trace = Trace(
        path=path,
        meta=TraceMeta(model=model, recorded={"source": path.name, "format": FORMAT}),
        request_id=np.repeat(np.array(sorted(requests), np.int32), lengths),
        position=np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]),
        phase=np.concatenate(phase).astype(np.int8),
        token_id=np.concatenate(tokens).astype(np.int32) if complete else None,
        experts=np.concatenate(experts).astype(np.int16),
        weights=None,
    )
    return noted(trace, _decode_alone(unsplit, len(requests))) if unsplit else trace


def _decode_alone(unsplit: list[int], requests: int) -> str:
    """Whose tokens are all taken as decode, as nothing says where the prompt ends."""
    if len(unsplit) == requests:
        return f"no prompt length in the file: every token is taken as decode {_WOULD}"
    more = f" and {len(unsplit) - 1} more" if len(unsplit) > 1 else ""
    whose = f"request {unsplit[0]}{more}"
    return f"no prompt length of {whose}: every token there is taken as decode {_WOULD}"


def _length(path: Path, request: int, arrays: dict[str, Array]) -> int | None:
    """How many tokens the prompt has, where the arrays say it beside ``prompt_routed_experts``."""
    said = {int(arrays[name]) for name in LENGTHS if name in arrays}
    if _TOKENS[0] in arrays:
        said.add(len(arrays[_TOKENS[0]]))
    if len(said) > 1 or any(length < 0 for length in said):
        numbers = " and ".join(map(str, sorted(said)))
        raise TraceError(f"{path}: request {request}: a prompt of {numbers} tokens")
    return said.pop() if said else None


def _routed(path: Path, model: ModelSpec, arrays: dict[str, Array], name: str) -> Array:
    """The array ``name`` of a request, checked against ``model`` and without dense layers."""
    layers, _, top_k = model.topology
    return routed_array(path, model, name, arrays.get(name, np.empty((0, layers, top_k), np.int16)))


def _load(path: Path) -> dict[int, dict[str, Array]]:
    """The arrays of each request by name."""
    if read_head(path).startswith(_NPY):
        return {0: {_GENERATED: _integers(path, _GENERATED, map_npy(path))}}
    requests: dict[int, dict[str, Array]] = {}
    for key, array in read_npz(path, _known(path)).items():
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


def _known(path: Path) -> Callable[[str], bool]:
    """A test of names that refuses an array that is none of these, before it is unpacked."""

    def known(name: str) -> bool:
        if not _NAME.fullmatch(name):
            close = did_you_mean(name, _KNOWN)
            raise TraceError(f"{path}: unknown array {shown(name)}{close}")
        return True

    return known


def _integers(path: Path, name: str, array: Array) -> Array:
    if path.suffix == ".npy" and path.stem.endswith(KINDS):
        raise TraceError(f"{path}: states beside a captured trace; the trace is its folder")
    if name in LENGTHS and array.size == 1 and array.dtype.kind in "iu":
        array = array.reshape(())
    dimensions = 0 if name in LENGTHS else 1 if name in _TOKENS else 3
    if array.ndim != dimensions or array.dtype.kind not in "iu":
        wanted = f"integers with {dimensions}" if dimensions else "one integer"
        raise TraceError(
            f"{path}: {name} is {array.dtype} with {array.ndim} dimensions, expected {wanted}"
        )
    limits = np.iinfo(np.int32)
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise TraceError(f"{path}: {name} holds numbers of more than 32 bits")
    return array
