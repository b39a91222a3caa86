"""colibri's ``ROUTE_TRACE``: text, one token of one layer's call a line.

``<call> <row> <layer> <expert>:<gate> ...``: a call is one layer of one forward pass, a row one of
its tokens; gates are after normalisation. Whose tokens a pass has is not said (``passes.py``).
Lines that begin with ``#`` are left out.

Its popularity file ``.coli_usage`` (``-1 layers experts``, ``-2 version hash``, then ``layer expert
count``) is no routing; a run takes it as ``cache.static.counts``.

Both layouts are known from the program's documentation (docs/routing-telemetry.md), not from a
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.passes import Call, PassReader, add_calls
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import COUNTS, read_text
from prefetch_sim.traces.trace import Trace, TraceError

FORMAT = "colibri"
_PAIR = r"\d+:[-+.\w]+"
_LINE = re.compile(rf"\s*(\d{{1,18}})\s+(\d{{1,9}})\s+(\d{{1,9}})((?:\s+{_PAIR})+)\s*")
_START = re.compile(rf"(?:#[^\n]*\n)*[ \t]*\d+[ \t]+\d+[ \t]+\d+[ \t]+{_PAIR}".encode())
_USAGE = re.compile(rb"\s*-1\s+\d+\s+\d+\s*\n")


def matches(head: bytes, path: Path) -> bool:
    """Three whole numbers and an expert with its gate; or the head of a popularity file."""
    return (_START.match(head) or _USAGE.match(head)) is not None


def read(path: Path, asked: Asked) -> Trace:
    """Every pass of the file, of the model that it does not name."""
    text = read_text(path)
    if _USAGE.match(text.encode()):
        raise TraceError(f"{path}: {COUNTS}")
    sets = RoutedSets(path, asked)
    add_calls(sets, PassReader(asked, sets.wrong), _calls(sets, text))
    return sets.trace(format=FORMAT, phases="by tokens a pass: one is decode")


def _calls(sets: RoutedSets, text: str) -> Iterator[Call]:
    number, call = -1, None
    for line, words in enumerate(text.splitlines(), start=1):
        if not words.strip() or words.startswith("#"):
            continue
        found = _LINE.fullmatch(words)
        if not found:
            raise sets.wrong(line, f"expected call row layer expert:gate ..., not {shown(words)}")
        row, layer = int(found[2]), int(found[3])
        pairs = [pair.split(":") for pair in found[4].split()]
        experts = [sets.number(line, "expert", expert) for expert, _ in pairs]
        gates = sets.floats(line, "gates", " ".join(gate for _, gate in pairs))
        if call is None or int(found[1]) != number:
            if call is not None:
                yield call
            number, call = int(found[1]), Call(line, layer, [], [])
        if layer != call.layer or row != len(call.experts):
            raise sets.wrong(line, f"row {row} of layer {layer} does not follow in its call")
        call.experts.append(experts)
        assert call.weights is not None
        call.weights.append(gates)
    if call is not None:
        yield call
