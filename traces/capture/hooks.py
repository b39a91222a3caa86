"""Hooks on a model's modules that are there only inside a ``with`` block."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Hooks:
    """What ``__enter__`` of a subclass registers in ``_handles`` is removed at the end."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
