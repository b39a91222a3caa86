"""What a policy's source says without being run: the names it defines, and which were meant."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.machinery import ModuleSpec
from pathlib import Path

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
