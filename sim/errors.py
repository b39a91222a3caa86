"""The one error a user's input may raise, and how it names what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """A run's input is wrong. The message is one line: where, what, and the nearest match."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``"; did you mean 'lru'?"``, or the known names where none is near."""
    names = sorted(known)
    near = get_close_matches(given, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
