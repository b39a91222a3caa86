"""The compiled engine reads its tables by name: no place in memory is worked out by hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from prefetch_sim.sim import compiled

FOLDER = Path(compiled.__file__).parent
MODULES = [path for path in sorted(FOLDER.glob("*.py")) if path.stem != "__init__"]


def parts(index: ast.expr) -> Iterator[ast.expr]:
    """What an index is made of; what a call returns or a table holds has a name of its own."""
    yield index
    if not isinstance(index, ast.Call | ast.Subscript | ast.Attribute):
        for child in ast.iter_child_nodes(index):
            if isinstance(child, ast.expr):
                yield from parts(child)


def multiplies(value: ast.expr) -> bool:
    return any(isinstance(p, ast.BinOp) and isinstance(p.op, ast.Mult) for p in parts(value))


def multiplied(function: ast.AST) -> set[str]:
    """Names that the function gives to a product."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts))
                found.update(
                    to.id for to, value in pairs if isinstance(to, ast.Name) and multiplies(value)
                )
    return found


def constant(module: ModuleType, part: ast.expr) -> bool:
    """Whether it is an integer that a module has for all: ``STARTED``, ``arrays.STARTED``."""
    value: object = None
    if isinstance(part, ast.Name):
        value = vars(module).get(part.id)
    elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
        value = getattr(vars(module).get(part.value.id), part.attr, None)
    return isinstance(value, int)


def by_hand(source: str, module: ModuleType) -> list[str]:
    """The subscripts of ``source`` that a product or a module's integer is part of."""
    tree = ast.parse(source)
    found = []
    functions = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.Lambda)]
    for scope in [*functions, tree]:
        products = multiplied(scope)
        for node in ast.walk(scope):
            if isinstance(node, ast.Subscript) and any(
                multiplies(part)
                or constant(module, part)
                or (isinstance(part, ast.Name) and part.id in products)
                for part in parts(node.slice)
            ):
                found.append(f"{node.lineno}: {ast.unparse(node)}")
    return sorted(set(found))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_place_is_worked_out_by_hand(path: Path) -> None:
    module = import_module(f"prefetch_sim.sim.compiled.{path.stem}")
    assert by_hand(path.read_text(), module) == []


def test_what_is_by_hand_is_found() -> None:
    module = ModuleType("flat")
    vars(module).update(STARTED=4, A_LOAD=16, arrays=module)
    source = """
def f(q, x, i):
    q.at[x * A_LOAD] = q.at[i + STARTED]
    load, j = x * A_LOAD, i
    q.at[load + 1] = q.at[1:arrays.STARTED]
    return q.loads[x].started + q.at[place(x * 2)] + q.at[q.at[j] + 1] + q.at[-1]
"""
    assert by_hand(source, module) == [
        "3: q.at[i + STARTED]",
        "3: q.at[x * A_LOAD]",
        "5: q.at[1:arrays.STARTED]",
        "5: q.at[load + 1]",
    ]
