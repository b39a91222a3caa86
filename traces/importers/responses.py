"""Routed experts in the answers of vLLM's and SGLang's servers, as base64: JSON, or JSON lines.

- vLLM (``--enable-return-routed-experts``, 0.22 and later): ``choices[].routed_experts`` is a numpy
  file; a ``prompt_routed_experts`` of the response comes before it.
- SGLang (``return_routed_experts``): ``meta_info.routed_experts``, or that of a choice or its
  ``sglext``, is int32 without a shape, which the model gives.

One row a token that was fed: prompt + answer - 1, or fewer where the request asked to leave out the
first (``routed_experts_start_len`` and its like). How many are the prompt's is in
``prompt_token_ids``, ``usage.prompt_tokens`` or ``meta_info.prompt_tokens``, or, as people write it
themselves, ``prompt_len`` or ``num_prompt_tokens``. A choice becomes a request.

The layouts are those of vLLM's and SGLang's public clients and documentation; no file was at hand.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.arrays import DAMAGED, parse_npy
from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_array import LENGTHS, routed_array
from prefetch_sim.traces.importers.source import parse_json, read_json_lines, read_text
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import DECODE, PREFILL, Array, Trace, TraceError, TraceMeta

FORMAT = "responses"
_ROUTED, _PROMPT = "routed_experts", "prompt_routed_experts"
_MARKS = (b'"routed_experts"', b'"meta_info"', b'"choices"')
_WIDEST = 2**16 - 1
_OTHER = "numbers of another type need a numpy file in the base64"
_BESIDE = ("sglext", "sgl_ext", "meta_info")
_PROMPT_LENGTHS = ("prompt_token_ids", *LENGTHS)
_ANSWER_LENGTHS = ("token_ids", "completion_tokens")
_LONGEST = 2**31 - 1
Json = dict[str, Any]


def matches(head: bytes, path: Path) -> bool:
    """JSON with the keys of a response."""
    return head.lstrip()[:1] in (b"{", b"[") and any(mark in head for mark in _MARKS)


def read(path: Path, asked: Asked) -> Trace:
    """Every choice of every response, of the model that they do not name by its shape."""
    model = asked.require_model(path)
    experts, phases, positions = [], [], []
    for place, response, choice in _choices(path):
        said, prompt, answer = _find(place, response, choice)
        if said is None:
            raise TraceError(f"{place}: no {_ROUTED} in it; the server and the request must ask")
        if prompt is None:
            names = ", ".join(_PROMPT_LENGTHS)
            raise TraceError(
                f"{place}: does not say how many tokens its prompt has; one of {names} would"
            )
        rows = _decode(place, model, said)
        before = _decode(place, model, response[_PROMPT]) if response.get(_PROMPT) else rows[:0]
        array = routed_array(path, model, _ROUTED, np.concatenate([before, rows]))
        if model.top_k > 1 and len(array) and not array[-1].any():
            array = array[:-1]  # stands for the last token, which was never fed
        if answer is None and len(array) < prompt:  # which of them were left out is not said
            raise TraceError(
                f"{place}: a prompt of {prompt} tokens, {len(array)} are routed; "
                f"{' or '.join(_ANSWER_LENGTHS)} would say which"
            )
        missing = 0 if answer is None else max(0, prompt + max(answer, 1) - 1 - len(array))
        most = prompt + (_LONGEST if answer is None else answer)
        if missing > prompt or len(array) > most:
            raise TraceError(f"{place}: {len(array)} routed tokens of {prompt} and {answer}")
        if len(before) not in (0, prompt - missing):
            raise TraceError(f"{place}: a prompt of {prompt} tokens, {_PROMPT} has {len(before)}")
        at = np.arange(missing, missing + len(array), dtype=np.int32)
        experts.append(array)
        positions.append(at)
        phases.append(np.where(at < prompt, PREFILL, DECODE))
    if not experts:
        raise TraceError(f"{path}: no response in it")
    lengths = [len(array) for array in experts]
    return Trace(
        path=path,
        meta=TraceMeta(model=model, recorded={"source": path.name, "format": FORMAT}),
        request_id=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        position=np.concatenate(positions),
        phase=np.concatenate(phases).astype(np.int8),
        token_id=None,
        experts=np.concatenate(experts),
        weights=None,
    )


def _choices(path: Path) -> Iterator[tuple[str, Json, Json]]:
    """Where, response and choice; a response without choices is its own."""
    for number, response in _responses(path):
        choices = response.get("choices")
        for index, choice in enumerate(choices if isinstance(choices, list) else [response]):
            place = f"{path}: response {number}, choice {index}"
            if not isinstance(choice, dict):
                raise TraceError(f"{place}: expected a JSON object")
            yield place, response, choice


def _responses(path: Path) -> Iterator[tuple[int, Json]]:
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        if text.lstrip()[:1] == "[":
            parse_json(text, str(path))
        yield from read_json_lines(path)
        return
    for number, response in enumerate(content if isinstance(content, list) else [content]):
        if not isinstance(response, dict):
            raise TraceError(f"{path}: response {number}: expected a JSON object")
        yield number, response


def _find(where: str, response: Json, choice: Json) -> tuple[Any, int | None, int | None]:
    """What is routed, and the tokens of the prompt and of the answer as far as they are said."""

    def dictionary(value: Any) -> Json:
        return value if isinstance(value, dict) else {}

    own = [choice, *(dictionary(choice.get(key)) for key in _BESIDE)]
    shared = [response, *(dictionary(response.get(key)) for key in (*_BESIDE, "usage"))]
    said = next((place[_ROUTED] for place in [*own, *shared] if place.get(_ROUTED)), None)
    choices = response.get("choices")
    if not (isinstance(choices, list) and len(choices) > 1):
        own, shared = [*own, *shared], []
    prompt = _length(where, "prompt", _PROMPT_LENGTHS, own)
    if prompt is None:
        prompt = _length(where, "prompt", _PROMPT_LENGTHS, shared)
    # What several choices share adds up their answers.
    return said, prompt, _length(where, "answer", _ANSWER_LENGTHS, own)


def _length(where: str, what: str, names: tuple[str, ...], places: list[Json]) -> int | None:
    """How many tokens something has by the keys ``names``, of which the first is of their ids."""
    found: dict[int, str] = {}
    for name in names:
        for value in (place[name] for place in places if place.get(name) is not None):
            ids = name == names[0]
            if ids and not isinstance(value, list):
                raise TraceError(f"{where}: {name} {shown(value)} is no list")
            if not ids and (type(value) is not int or not 0 <= value <= _LONGEST):
                known = f"a whole number in 0..{_LONGEST}"
                raise TraceError(f"{where}: {name} {shown(value)} is not {known}")
            found.setdefault(len(value) if ids else value, name)
    if len(found) > 1:
        lengths = " and ".join(f"{length} ({name})" for length, name in found.items())
        raise TraceError(f"{where}: {'a' if what == 'prompt' else 'an'} {what} of {lengths} tokens")
    return next(iter(found), None)


def _decode(place: str, model: ModelSpec, text: Any) -> Array:
    """Base64 as an array [tokens, layers, top-k]: a numpy file, or int32 as SGLang sends it."""
    try:
        raw = base64.b64decode(text, validate=True)
        typed = raw.startswith(b"\x93NUMPY")
        array = parse_npy(raw) if typed else np.frombuffer(raw, "<i4")
    except DAMAGED:
        raise TraceError(f"{place}: {_ROUTED} is not base64 of an array") from None
    if array.dtype.kind not in "iu":
        raise TraceError(f"{place}: {_ROUTED} is {array.dtype}, expected whole numbers")
    if not typed and array.max(initial=0) > _WIDEST:  # two numbers of 16 bits, most likely
        raise TraceError(f"{place}: {_ROUTED} has {array.max()} as int32; {_OTHER}")
    if array.ndim == 1:
        for layers in (model.layers, model.moe_layers):
            if len(array) % (layers * model.top_k) == 0:
                return np.asarray(array.reshape(-1, layers, model.top_k))
        raise TraceError(
            f"{place}: {len(array)} {array.dtype} numbers are no tokens of {model.layers} layers "
            f"of top-{model.top_k} (model {model.name}){'' if typed else '; ' + _OTHER}"
        )
    if array.ndim != 3:
        raise TraceError(f"{place}: {_ROUTED} has {array.ndim} dimensions, expected 3")
    return np.asarray(array)
