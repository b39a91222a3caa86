"""Keeps what runs to come would work out again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Memos:
    """Results by kind and key, of which the last few asked for are kept.

    They stand on what they were worked out of and end with it. So neither a key nor a result may
    refer to it, or it would live until Python looks for cycles.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, dict[Hashable, Any]] = {}

    def get(self, kind: str, key: Hashable, keep: int, make: Callable[[], T]) -> T:
        """What ``make`` gives, now or the last time; ``keep`` of this kind stay, this one too."""
        known = self._kinds.setdefault(kind, {})
        if key in known:
            found: T = known.pop(key)
        else:
            while len(known) >= keep:  # first, so that no more are ever held
                del known[next(iter(known))]
            found = make()
        known[key] = found  # the latest stands last
        return found
