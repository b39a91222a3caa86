"""Whose tokens a forward pass has, where a recording gives their number and nothing else.

A pass of one token decodes on; the first pass of several is a prompt. Any other pass of several
tokens may be the prompt of a further request, the next chunk of the same prompt, or one step of
several sequences (batching, drafts being verified). Nobody can tell these apart by their size, so
whoever imports has to say which.
"""

from __future__ import annotations

from collections.abc import Callable

from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.trace import DECODE, PREFILL, TraceError


class PassReader:
    """Goes through the passes of one recording in order."""

    def __init__(self, asked: Asked, wrong: Callable[[int, str], TraceError]) -> None:
        self._asked, self._wrong = asked, wrong
        self._request, self._position, self._before = -1, 0, 0

    def next(self, at: int, tokens: int) -> tuple[int, int, int]:
        """Request, position of the first token, and phase of a pass; ``at`` is where it stands.

        Raises TraceError for a pass that could be several things.
        """
        if self._request < 0:
            self._request = 0
        elif tokens > 1:
            if self._asked.passes is None:
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
