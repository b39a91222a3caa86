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


def matches(head: bytes, path: Path) -> bool:
    """JSON with the keys of a response."""
    return head.lstrip()[:1] in (b"{", b"[") and any(mark in head for mark in _MARKS)


def read(path: Path, asked: Asked) -> Trace:
    """Every choice of every response, of the model that they do not name by its shape."""
    model = asked.require_model(path)
    experts, phases, positions = [], [], []
    for place, response, choice in _choices(path):
        said, prompt, answer = _find(response, choice)
        if said is None:
            raise TraceError(f"{place}: no {_ROUTED} in it; the server and the request must ask")
        if prompt is None:
            names = ", ".join(("prompt_token_ids", *LENGTHS))
            raise TraceError(
                f"{place}: does not say how many tokens its prompt has; one of {names} would"
            )
        rows = _decode(place, model, said)
        before = _decode(place, model, response[_PROMPT]) if response.get(_PROMPT) else rows[:0]
        array = routed_array(path, model, _ROUTED, np.concatenate([before, rows]))
        if model.top_k > 1 and len(array) and not array[-1].any():
            array = array[:-1]  # stands for the last token, which was never fed
        missing = 0 if answer is None else max(0, prompt + max(answer, 1) - 1 - len(array))
        most = prompt + (2**31 if answer is None else answer)
        if (answer is not None and missing > prompt) or len(array) > most:
            raise TraceError(f"{place}: {len(array)} routed tokens of {prompt} and {answer}")
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


def _choices(path: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Where, response and choice; a response without choices is its own."""
    for number, response in _responses(path):
        choices = response.get("choices")
        for index, choice in enumerate(choices if isinstance(choices, list) else [response]):
            place = f"{path}: response {number}, choice {index}"
            if not isinstance(choice, dict):
                raise TraceError(f"{place}: expected a JSON object")
            yield place, response, choice


def _responses(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
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


def _find(response: dict[str, Any], choice: dict[str, Any]) -> tuple[Any, int | None, int | None]:
    """What is routed, and the tokens of the prompt and of the answer as far as they are said."""

    def dictionary(value: Any) -> dict[str, Any]:
        return value if isinstance(value, dict) else {}

    places = [choice, *(dictionary(choice.get(key)) for key in _BESIDE)]
    places += [response, *(dictionary(response.get(key)) for key in _BESIDE)]
    places += [dictionary(response.get("usage"))]
    said = next((place[_ROUTED] for place in places if place.get(_ROUTED)), None)

    def count(ids: str, numbers: tuple[str, ...], several: bool) -> int | None:
        for place in places:
            if isinstance(place.get(ids), list):
                return len(place[ids])
        if several:
            return None  # usage adds up all choices
        known = (place.get(number) for number in numbers for place in places)
        return next((n for n in known if type(n) is int and 0 <= n < 2**31), None)

    choices = response.get("choices")
    several = isinstance(choices, list) and len(choices) > 1
    return (
        said,
        count("prompt_token_ids", LENGTHS, False),
        count("token_ids", ("completion_tokens",), several),
    )


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
