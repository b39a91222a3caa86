"""One request of the GPT-OSS-20B fingerprinting recordings, in the layout they are published in.

A JSON object with ``full_text`` (the sequence as token strings), and ``router_data``: a list of
``{"token_POSITION": {"layer_LAYER": {"selected_experts": [k], "selected_probs": [k]}}}``, one
for each decode step. Prefill was not recorded. Token ids are not published: strings are numbered
in order of first use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.known_models import GPT_OSS_20B
from prefetch_sim.traces.importers.source import as_float, parse_json, read_text
from prefetch_sim.traces.trace import DECODE, Trace, TraceError, TraceMeta

FORMAT = "gpt-oss-json"


def matches(head: bytes, path: Path) -> bool:
    """A JSON object with the keys that open every published file."""
    return head.lstrip().startswith(b"{") and b'"original_prompt"' in head


def read(path: Path, asked: Asked) -> Trace:
    """The one request of the file; ``model`` replaces the published shape of gpt-oss-20b."""
    model = asked.model or GPT_OSS_20B
    layers, count, top_k = model.topology
    content = _parse(path)
    steps = content["router_data"]
    experts = np.empty((len(steps), layers, top_k), np.int16)
    weights = np.empty((len(steps), layers, top_k), np.float32)
    position = np.empty(len(steps), np.int32)
    for row, step in enumerate(steps):
        position[row], by_layer = _only_item(path, row, step)
        place = f"{path}: router_data[{row}]"
        if not isinstance(by_layer, dict) or len(by_layer) != layers:
            raise TraceError(f"{place}: expected {layers} layers")
        for layer in range(layers):
            chosen = by_layer.get(f"layer_{layer}")
            ids = _numbers(chosen, "selected_experts", (int,))
            shares = _numbers(chosen, "selected_probs", (int, float))
            if len(ids) != top_k or len(shares) != top_k:
                raise TraceError(
                    f"{place}, layer {layer}: expected selected_experts and selected_probs of "
                    f"{top_k} numbers each"
                )
            for expert in ids:
                if not 0 <= expert < count:
                    raise TraceError(
                        f"{place}, layer {layer}: expert {shown(expert)} out of range "
                        f"0..{count - 1}"
                    )
            experts[row, layer], weights[row, layer] = ids, [as_float(share) for share in shares]
    recorded = {"source": path.name, "format": FORMAT, "phases": "decode only"}
    for key in ("dataset", "category", "row_index"):
        if key in content:
            recorded[key] = str(content[key])[:200]
    return Trace(
        path=path,
        meta=TraceMeta(model=model, recorded=recorded),
        request_id=np.zeros(len(steps), np.int32),
        position=position,
        phase=np.full(len(steps), DECODE, np.int8),
        token_id=_token_ids(content.get("full_text"), position, asked),
        experts=experts,
        weights=weights,
    )


def _numbers(chosen: Any, key: str, kinds: tuple[type, ...]) -> list[Any]:
    """The list at ``key``, empty where there is none or it holds anything but numbers."""
    values = chosen.get(key) if isinstance(chosen, dict) else None
    if not isinstance(values, list) or any(type(value) not in kinds for value in values):
        return []
    return values


def _parse(path: Path) -> dict[str, Any]:
    content = parse_json(read_text(path), str(path))
    if not isinstance(content, dict) or not isinstance(content.get("router_data"), list):
        raise TraceError(f"{path}: expected an object with a list 'router_data'")
    return content


def _only_item(path: Path, row: int, step: Any) -> tuple[int, Any]:
    """Position and layers of ``{"token_POSITION": layers}``."""
    if isinstance(step, dict) and len(step) == 1:
        name, by_layer = next(iter(step.items()))
        digits = name.removeprefix("token_")
        # Nine digits always fit a position.
        if digits != name and digits.isdecimal() and len(digits) <= 9:
            return int(digits), by_layer
    raise TraceError(f"{path}: router_data[{row}]: expected one key token_POSITION")


def _token_ids(text: Any, position: Any, asked: Asked) -> Any:
    """Numbers for the strings at ``position``, or None where the text does not reach them."""
    if not isinstance(text, list) or not len(position) or position.max() >= len(text):
        return None
    fed = [asked.number(str(text[at])) for at in position.tolist()]
    return np.array(fed, np.int32)
