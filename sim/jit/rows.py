"""Tables with named columns: ``table[i]`` is a row, ``row.started`` a number in it.

A table is one block of memory. The host makes it with ``table`` and reads whole columns by name,
the kernel reads rows through bare pointers (``pointers``), and where nothing is compiled they are
Python objects over the same memory (``plain``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar, cast

import numpy as np


class Row:
    """A subclass annotates its columns: ``int`` or ``float``, both of 64 bits."""


T = TypeVar("T")
R = TypeVar("R", bound=Row)
R_co = TypeVar("R_co", bound=Row, covariant=True)


class Table(Protocol[R_co]):
    """Rows of one kind, ``table[i]``."""

    def __getitem__(self, i: int, /) -> R_co: ...


class Grid(Protocol[R_co]):
    """Tables of one length, ``grid[i][j]``."""

    def __getitem__(self, i: int, /) -> Table[R_co]: ...


_NUMBERS = {"int": np.int64, "float": np.float64}


@cache
def layout(row: Any) -> Any:
    """numpy's name for how a row lies in memory."""
    columns = [(name, _NUMBERS[number]) for name, number in row.__annotations__.items()]
    return np.dtype((np.record, columns))


def table(row: Any, shape: int | tuple[int, ...] = (), **columns: Any) -> Any:
    """Make ``shape`` rows, a single one if it is (): ``columns`` as given, 0 in the others."""
    memory = np.zeros(shape, layout(row)).view(np.recarray)
    for name, values in columns.items():
        memory[name] = values
    return memory


def column(table: Table[R], name: str) -> Any:
    """[rows]: the host's view of one column."""
    return cast("Any", table)[name]


def cells(table: Any) -> Any:
    """[..., columns]: the host's view of rows that have integers alone."""
    return table.ravel().view(np.int64).reshape(*table.shape, len(table.dtype.names))


def plain(
    state: T, array: Callable[[Any], Any] = memoryview, rows: Callable[[Any], Any] = list
) -> T:
    """``state`` as Python reads it fastest, over the same memory.

    ``array`` is what flat arrays become, and ``rows`` what tables do, and whatever has two axes.
    """
    if isinstance(state, np.ndarray):
        return _plain(state, array, rows)  # type: ignore[no-any-return]
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(plain(part, array, rows) for part in state))
    return state


def _plain(memory: Any, array: Callable[[Any], Any], rows: Callable[[Any], Any]) -> Any:
    if memory.ndim == 2:
        return rows(_plain(part, array, rows) for part in memory)
    if memory.dtype.names is None:
        return array(memory)
    structure = _structure(memory.dtype)
    if memory.ndim == 0:
        return structure.from_buffer(memory)
    return rows((structure * len(memory)).from_buffer(memory) if len(memory) else ())


@cache
def _structure(layout: Any) -> Any:
    columns: Any = [(name, layout[name]) for name in layout.names]
    return np.ctypeslib.as_ctypes_type(np.dtype(columns))
