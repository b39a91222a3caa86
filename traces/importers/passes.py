"""Whose tokens a forward pass has, where a recording gives their number and nothing else.

A pass of one token decodes on; the first pass of several is a prompt. Any other pass of several
tokens may be the prompt of a further request, the next chunk of the same prompt, or one step of
several sequences (batching, drafts being verified). Nobody can tell these apart by their size, so
whoever imports has to say which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.routed_sets import RoutedSets
from prefetch_sim.traces.trace import DECODE, PREFILL, TraceError


class PassReader:
    """Goes through the passes of one recording in order."""

    def __init__(
        self, asked: Asked, wrong: Callable[[int, str], TraceError], one_prompt: bool = False
    ) -> None:
        """``one_prompt``: the tool runs one prompt, whose pieces follow each other."""
        self._asked, self._wrong, self._one_prompt = asked, wrong, one_prompt
        self._request, self._position, self._before = -1, 0, 0

    def next(self, at: int, tokens: int) -> tuple[int, int, int]:
        """Request, position of the first token, and phase of a pass; ``at`` is where it stands.

        Raises TraceError for a pass that could be several things.
        """
        if self._request < 0:
            self._request = 0
        elif tokens > 1:
            chunk = self._one_prompt and self._before > 1
            if self._asked.passes is None and not chunk:
                raise self._wrong(
                    at,
                    f"a pass of {tokens} tokens after one of {self._before}: say --passes prompts "
                    "if each is a further request's, --passes chunks if prompts came in pieces; "
                    "sequences that ran together cannot be told apart",
                )
            if self._asked.passes == "prompts" or self._before == 1:
                self._request, self._position = self._request + 1, 0
        first, self._before = self._position, tokens
        self._position += tokens
        return self._request, first, PREFILL if tokens > 1 else DECODE


class Call(NamedTuple):
    """One layer of one pass: experts of each of its tokens, and their weights if there are any."""

    at: int
    layer: int
    experts: list[Any]
    weights: list[Any] | None = None


def add_calls(sets: RoutedSets, reader: PassReader, calls: Iterable[Call]) -> None:
    """Put calls that come in the order in which they ran into ``sets``.

    A pass ends where the layer does not rise.
    """
    passes: list[list[Call]] = []
    for call in calls:
        if not passes or call.layer <= passes[-1][-1].layer:
            passes.append([])
        passes[-1].append(call)
    add_passes(sets, reader, passes)


def add_passes(sets: RoutedSets, reader: PassReader, passes: Sequence[Sequence[Call]]) -> None:
    """Put passes into ``sets``, each a call of every layer.

    The last layer may have fewer tokens than the rest of its pass: the last ones. A token whose
    experts are all -1 was not routed.
    """
    last = max((call.layer for one in passes for call in one), default=0)
    for one in passes:
        tokens = max(len(call.experts) for call in one)
        request, first, phase = reader.next(one[0].at, tokens)
        for call in one:
            lacks = tokens - len(call.experts)
            if lacks and call.layer != last:
                message = f"{len(call.experts)} tokens, other layers of the pass have {tokens}"
                raise sets.wrong(call.at, message)
            for token, experts in enumerate(call.experts):
                absent = _none(experts)
                known = None if call.weights is None else call.weights[token]
                place = request, first + lacks + token, call.layer
                sets.add(call.at, *place, experts, phase=phase, weights=known, absent=absent)


def _none(experts: Any) -> bool:
    return isinstance(experts, list) and bool(experts) and all(e == -1 for e in experts)
