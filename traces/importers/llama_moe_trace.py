"""llama.cpp's ``moe-trace`` example (pull request 28544): CSV, one routed expert a row.

``layer,expert`` (the header may be missing), in the order in which the graph ran: in each pass
layer after layer, in a layer token after token, of a token its top-k experts. There is no column
of tokens: the model's top-k cuts them. The tool evaluates one prompt, in pieces of the micro-batch,
and continues it: passes of several tokens in a row are one prompt. Of the last layer only tokens
whose output is wanted are there, the last ones.

Its layout is known from the description of the pull request, not from a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.passes import Call, PassReader, add_calls
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.importers.source import read_text
from prefetch_sim.traces.trace import Trace, TraceError

FORMAT = "moe-trace"
_HEADER = "layer,expert"
_START = re.compile(rb"(\s*layer\s*,\s*expert\s*(\r?\n|$))|(\d+\s*,\s*\d+\s*\r?\n){2}")


def matches(head: bytes, path: Path) -> bool:
    """The header, or two lines of two whole numbers."""
    return _START.match(head) is not None


def read(path: Path, asked: Asked) -> Trace:
    """The prompt and its continuation, of the model that the file does not name."""
    sets = RoutedSets(path, asked)
    if sets.model.moe_layers == 1:
        raise TraceError(f"{path}: with one MoE layer its tokens cannot be told apart by layers")
    reader = PassReader(asked, sets.wrong, one_prompt=True)
    add_calls(sets, reader, _calls(sets))
    return sets.trace(format=FORMAT, phases="by tokens a pass: one is decode")


def _calls(sets: RoutedSets) -> Iterator[Call]:
    """Runs of one layer, cut into tokens."""
    start, layer = 0, -1
    experts: list[int] = []
    for line, text in enumerate(read_text(sets.path).splitlines(), start=1):
        if not text.strip() or (line == 1 and text.replace(" ", "").lower() == _HEADER):
            continue
        fields = text.split(",")
        if len(fields) != 2:
            raise sets.wrong(line, f"expected layer,expert, not {shown(text)}")
        here = sets.number(line, "layer", fields[0])
        if here != layer and experts:
            yield _cut(sets, start, layer, experts)
            experts = []
        if not experts:
            start, layer = line, here
        experts.append(sets.number(line, "expert", fields[1]))
    if experts:
        yield _cut(sets, start, layer, experts)


def _cut(sets: RoutedSets, at: int, layer: int, experts: list[int]) -> Call:
    k = sets.model.top_k
    if len(experts) % k:
        message = f"{len(experts)} experts of layer {layer} in a row are no tokens of top-{k}"
        raise sets.wrong(at, message)
    return Call(at, layer, [experts[i : i + k] for i in range(0, len(experts), k)])
