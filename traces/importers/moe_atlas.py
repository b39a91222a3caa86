"""MoE-Atlas: JSON lines, one text a line.

``num_layers``, ``num_experts``, ``top_k``, ``token_strs``, and ``activations``, one ``{layer,
token_idx, expert_idx, gate_weight}`` for each expert of a token and layer. A text becomes a
request; as it was read in one pass, and under causal attention a token is routed as when it is
decoded, all rows are decode (as of MoE-Beyond's files). Experts are put in order of their weight.

The layout is that of the program's own records; no file was at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import as_float, first_keys, read_json_lines
from prefetch_sim.traces.trace import Trace

FORMAT = "moe-atlas"
_KEYS = ("layer", "token_idx", "expert_idx", "gate_weight")


def matches(head: bytes, path: Path) -> bool:
    """A record on the first line; its activations may be beyond ``head``."""
    return first_keys(head).issuperset({"num_layers", "num_experts", "top_k"})


def read(path: Path, asked: Asked) -> Trace:
    """Every text of the file; its counts must agree with the model, whose widths it has not."""
    sets = RoutedSets(path, asked)
    words: list[int] = []
    numbered = True
    for request, (line, record) in enumerate(read_json_lines(path)):
        for key, has in (("num_experts", sets.model.experts), ("top_k", sets.model.top_k)):
            if record.get(key, has) != has:
                model = sets.model.name
                raise sets.wrong(line, f"{key} is {shown(record[key])}, of model {model} {has}")
        strings = record.get("token_strs")
        for (token, layer), pairs in _routed(sets, line, record).items():
            ranked = sorted(pairs, key=lambda pair: -pair[1])
            experts, weights = [pair[0] for pair in ranked], [pair[1] for pair in ranked]
            sets.add(line, request, token, layer, experts, weights=weights)
            numbered = numbered and isinstance(strings, list) and token < len(strings)
            words.append(asked.number(str(strings[token])) if numbered and strings else 0)
    trace = sets.trace(phased=False, format=FORMAT, phases="one pass over the text, as decode")
    if numbered:
        trace.token_id = sets.by_row(np.array(words, np.int32), "token")
    return trace


def _routed(
    sets: RoutedSets, line: int, record: dict[str, Any]
) -> dict[tuple[int, int], list[tuple[int, float]]]:
    """Experts and weights of each token and layer."""
    activations = record.get("activations")
    if not isinstance(activations, list):
        raise sets.wrong(line, "expected a list 'activations'")
    found: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for one in activations:
        values: list[Any] = [one.get(key) for key in _KEYS] if isinstance(one, dict) else [None]
        if any(type(value) is not int for value in values[:3]) or type(values[-1]) not in (
            int,
            float,
        ):
            raise sets.wrong(line, f"expected numbers {', '.join(_KEYS)}, not {shown(one)}")
        layer, token, expert, weight = values
        found.setdefault((token, layer), []).append((expert, as_float(weight)))
    return found
