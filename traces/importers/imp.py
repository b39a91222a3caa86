"""imp's ``diagnostics.moe_expert_trace``: JSON, one record ``[layer, e0, e1, ...]`` a decoded
token and layer, in the order in which layers ran.

The records are a list of lists, or one flat list of whole numbers, cut by the model's top-k;
either alone or as ``trace``, ``entries`` or ``data`` of an object. Prefill is not recorded, nor
where a request or a token begins: here all is one request, in which a token begins where the layer
does not rise. Tokens decoded in one batch cannot be told apart, and are refused. The first tokens
may lack the last layer, as a prompt's do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import parse_json, read_text
from prefetch_sim.traces.trace import Trace, TraceError

FORMAT = "imp"
_KEYS = ("trace", "entries", "data")
_START = re.compile(rb'\s*(\{.*?"(trace|entries|data)"\s*:\s*)?\[\s*(\[\s*)?\d+\s*,', re.DOTALL)


def matches(head: bytes, path: Path) -> bool:
    """A list that begins with whole numbers, or with a list of them."""
    return _START.match(head) is not None


def read(path: Path, asked: Asked) -> Trace:
    """All records as one request, of the ``model`` that the file does not name."""
    sets = RoutedSets(path, asked, unit="record")
    token, before = -1, None
    for at, record in enumerate(_records(path, sets.model.top_k)):
        if not isinstance(record, list) or not record or type(record[0]) is not int:
            raise sets.wrong(at, "expected a list of layer and experts")
        layer, *experts = record
        if before is None or layer <= before:
            token += 1
        before = layer
        sets.add(at, 0, token, layer, experts)
    return sets.trace(phased=False, format=FORMAT, phases="decode only")


def _records(path: Path, top_k: int) -> list[Any]:
    content = parse_json(read_text(path), str(path))
    if isinstance(content, dict):
        content = next((content[key] for key in _KEYS if key in content), None)
    if not isinstance(content, list):
        raise TraceError(f"{path}: expected a list of records, alone or as {' or '.join(_KEYS)}")
    if content and type(content[0]) is int:
        width = top_k + 1
        return [content[at : at + width] for at in range(0, len(content), width)]
    return content
