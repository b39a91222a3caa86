"""What is wrong with a file of measurements."""

from __future__ import annotations

from typing import Any


class SourceError(ValueError):
    """One line that says what is wrong; who reads the file names it."""


def mapping(content: Any, key: str) -> dict[str, Any]:
    """What stands at ``key`` of a mapping, which has to be one too. Raises SourceError."""
    found = content.get(key)
    if not isinstance(found, dict):
        raise SourceError(f"{key}: expected a mapping, not {type(found).__name__}")
    return found


def number(content: dict[str, Any], key: str, where: str = "") -> float | None:
    """A number above 0 at ``key``, None where there is none. Raises SourceError."""
    value = content.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        raise SourceError(f"{where}{key}: {value!r} is not a number above 0")
    return float(value)
