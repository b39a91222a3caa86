"""What a policy's source says: the names it defines, which were meant, and what failed in it."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.machinery import ModuleSpec
from itertools import islice
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from prefetch_sim.sim.config.errors import ConfigError

NEAR = 0.8  # how like a name is to one that was probably meant


def meant_by(needed: Iterable[str], there: Iterable[str]) -> str:
    """``"; did you mean 'inserted' by 'insert'?"``, if one of those there is nearly one needed."""
    names = {one.lower(): one for one in there}
    for one in needed:
        for near in get_close_matches(one.lower(), names, n=1, cutoff=NEAR):
            return f"; did you mean {one!r} by {names[near]!r}?"
    return ""


def class_meant(needed: Collection[str], classes: Mapping[str, Collection[str]]) -> str:
    """What to do where one of the ``classes``, by their names' names, has what is ``needed``."""
    for name, names in classes.items():
        if set(needed) <= set(names):
            return f"; its class {name!r} has: a file has functions, a class is given in Python"
    return ""


def look(name: str, spec: ModuleSpec | None, what: str, needed: tuple[str, ...]) -> None:
    """Raises ConfigError where the module's source has not what is ``needed``. Runs nothing."""
    if spec is None:
        raise ConfigError(f"cannot import {what} {name!r}: no such module")
    if spec.origin is None or not spec.origin.endswith(".py"):
        return
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = f"{type(error).__name__}: {getattr(error, 'msg', error)}"
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(
            f"cannot import {what} {name!r}: {reason} ({spec.origin}{line})"
        ) from error
    defined = set(_defined(tree))
    classes = {
        node.name: set(_defined(node)) for node in tree.body if isinstance(node, ast.ClassDef)
    }
    if defined.isdisjoint({"*", "__getattr__"}):
        for one in needed:
            if one not in defined:
                hint = class_meant(needed, classes) or meant_by([one], defined)
                raise ConfigError(f"{name!r} is no {what}: it has no {one!r}{hint}")


def _defined(tree: ast.AST) -> Iterator[str]:
    """The names that a module gives itself, also under ``if`` and ``try``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            yield from _defined(node)


def hint(error: BaseException, step: TracebackType, module: ModuleType) -> str:
    """What an eviction probably left out, which failed at ``step``: ``"; ..."``, or nothing."""
    if not hasattr(module, "inserted"):
        return ""
    read = _read(step)
    none = isinstance(error, IndexError | TypeError | AttributeError)  # it is empty, or None
    if none and "future" in read and not getattr(module, "LOOKS_AHEAD", False):
        return "; there is no future without LOOKS_AHEAD = True"
    if (
        isinstance(error, IndexError)
        and read[:1] == ["shared"]
        and not hasattr(module, "new_state")
    ):
        return "; state.shared has five integers, unless begin returns more"
    return ""


def _read(step: TracebackType) -> list[str]:
    """Names of that of which an item or an attribute was asked, the last first: shared, state."""
    code = step.tb_frame.f_code
    linecache.checkcache(code.co_filename)  # it may have been written anew since
    line, end, *columns = next(islice(code.co_positions(), step.tb_lasti // 2, None))
    text = linecache.getline(code.co_filename, line) if line and line == end else ""
    try:
        asked: Any = ast.parse(text.encode()[slice(*columns)].decode(), mode="eval").body
    except SyntaxError:  # of a whole line, where Python keeps no columns
        return []
    names: list[str] = []
    while isinstance(asked, ast.Subscript | ast.Attribute):
        asked = asked.value
        names.append(getattr(asked, "attr", "") or getattr(asked, "id", ""))
    return names
