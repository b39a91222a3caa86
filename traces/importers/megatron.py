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

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.passes import Call, PassReader, add_passes
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import first_keys, read_json_lines
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
    passes: dict[tuple[int, int], list[Call]] = {}
    for key, call in _calls(sets):
        passes.setdefault(key, []).append(call)
    add_passes(sets, PassReader(asked, sets.wrong), list(passes.values()))
    return sets.trace(format=FORMAT, phases="by tokens a pass: one is decode")


def _calls(sets: RoutedSets) -> Iterator[tuple[tuple[int, int], Call]]:
    """Each record of the decoder, and its pass."""
    seen: Counter[tuple[int, int]] = Counter()
    for line, record in read_json_lines(sets.path):
        if record.get("block", "decoder") != "decoder":
            continue
        step: Any = record.get("step")
        layer: Any = record.get("layer")
        experts = record.get("top_indices")
        for name, value in (("step", step), ("layer", layer)):
            if type(value) is not int:
                raise sets.wrong(line, f"{name} {shown(value)} is not a whole number")
        if not isinstance(experts, list) or not experts:
            raise sets.wrong(line, "expected a list of each token's experts as top_indices")
        weights = next((record[key] for key in _WEIGHTS if key in record), None)
        if weights is not None and (not isinstance(weights, list) or len(weights) != len(experts)):
            raise sets.wrong(line, f"expected weights of {len(experts)} tokens")
        yield (step, seen[step, layer]), Call(line, layer, experts, weights)
        seen[step, layer] += 1
