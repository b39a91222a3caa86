"""A step: one forward pass over rows of a trace."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Step(NamedTuple):
    """One forward pass over ``rows`` of the trace, grouped by request."""

    number: int
    prefill: bool
    requests: tuple[int, ...]
    rows: tuple[int, ...]
    tokens: tuple[int, ...]  # new tokens of each request
    contexts: tuple[int, ...]  # tokens of each request already in its KV cache

    @property
    def phase(self) -> Literal["prefill", "decode"]:
        return "prefill" if self.prefill else "decode"
