"""moe-sim's activation events: JSON lines, one event a token and layer.

``request_id``, ``phase`` (prefill, decode or unknown), ``step_id``, ``token_position``,
``layer_id``, ``expert_ids``; other keys are ignored. An event without experts is a layer that did
not route. Requests may take turns in the file; here each is in one piece, in order of its tokens.
Tokens of unknown phase are taken as decode. moe-sim also knows sets of other sizes than top-k,
which no trace can hold: they are refused.
"""

from __future__ import annotations

from pathlib import Path

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import first_keys, read_json_lines
from prefetch_sim.traces.trace import DECODE, PREFILL, Trace

FORMAT = "moe-sim"
_KEYS = ("request_id", "phase", "token_position", "layer_id", "expert_ids")
_PHASES = {"prefill": PREFILL, "decode": DECODE, "unknown": DECODE}


def matches(head: bytes, path: Path) -> bool:
    """An event on the first line."""
    return first_keys(head).issuperset(_KEYS)


def read(path: Path, asked: Asked) -> Trace:
    """Every request of the file, of the ``model`` that it does not name."""
    sets = RoutedSets(path, asked)
    phases = set()
    for line, event in read_json_lines(path):
        for key in _KEYS:
            if key not in event:
                raise sets.wrong(line, f"no key {key!r}")
        request, phase, position, layer, experts = (event[key] for key in _KEYS)
        if not isinstance(phase, str) or phase not in _PHASES:
            raise sets.wrong(line, f"phase {shown(phase)} is none of {', '.join(_PHASES)}")
        phases.add(phase)
        absent = experts == []
        sets.add(line, request, position, layer, experts, phase=_PHASES[phase], absent=absent)
    return sets.trace(format=FORMAT, phases=", ".join(sorted(phases)))
