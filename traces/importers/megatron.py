"""Megatron-LM's router trace (``--moe-routing-trace-path``): JSON lines, one forward pass of one
layer each.

``step``, ``block``, ``layer`` and ``top_indices``, the experts of every token of the pass; and, if
someone put them there, their ``probs`` (or ``weights``) in the same shape. Logits and hidden states
lie in files of their own and are not read; the multi-token-prediction blocks (``"block": "mtp"``)
are left out, as they are not layers of the model.

A file does not say whose tokens a pass has: ``passes.py`` says what is made of that, and
``--passes`` what else they may be. A layer that comes again in its step (micro-batches) begins
another pass. Where Megatron takes experts from a routing map they are in order of their number,
not of their weight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.passes import PassReader
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import first_keys, read_json_lines, shown
from prefetch_sim.traces.trace import Trace

FORMAT = "megatron"
_WEIGHTS = ("probs", "weights")


def matches(head: bytes, path: Path) -> bool:
    """A pass on the first line; it may be too long for its experts to be in ``head``."""
    keys = first_keys(head)
    return "top_indices" in keys or keys.issuperset({"layer", "num_tokens", "topk"})


def read(path: Path, asked: Asked) -> Trace:
    """The passes of one rank, which must hold all layers of ``model``."""
    sets = RoutedSets(path, asked)
    reader = PassReader(asked, sets.wrong)
    starts: dict[tuple[Any, int], tuple[tuple[int, int, int], int]] = {}  # and how many tokens
    for line, key, layer, experts, weights in _passes(sets):
        if key not in starts:
            starts[key] = reader.next(line, len(experts)), len(experts)
        (mine, first, phase), tokens = starts[key]
        if len(experts) != tokens:
            raise sets.wrong(line, f"{len(experts)} tokens, other layers of the pass have {tokens}")
        for token in range(tokens):
            weight = None if weights is None else weights[token]
            at = first + token
            sets.add(line, mine, at, layer, experts[token], phase=phase, weights=weight)
    return sets.trace(format=FORMAT, phases="by tokens a pass: one is decode")


def _passes(sets: RoutedSets) -> Iterator[tuple[int, tuple[Any, int], Any, list[Any], Any]]:
    """Line, pass, layer, experts and weights of each record of the decoder."""
    seen: Counter[tuple[Any, Any]] = Counter()
    for line, record in read_json_lines(sets.path):
        if record.get("block", "decoder") != "decoder":
            continue
        step, layer, experts = (record.get(key) for key in ("step", "layer", "top_indices"))
        for name, value in (("step", step), ("layer", layer)):
            if type(value) is not int:
                raise sets.wrong(line, f"{name} {shown(value)} is not a whole number")
        if not isinstance(experts, list) or not experts:
            raise sets.wrong(line, "expected a list of each token's experts as top_indices")
        weights = next((record[key] for key in _WEIGHTS if key in record), None)
        if weights is not None and (not isinstance(weights, list) or len(weights) != len(experts)):
            raise sets.wrong(line, f"expected weights of {len(experts)} tokens")
        yield line, (step, seen[step, layer]), layer, experts, weights
        seen[step, layer] += 1
