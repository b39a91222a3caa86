"""The files that a policy of one's own depends on: itself, and those of what it imports.

Files of this package are left out, as one digest covers them, and so is what is installed, which is
taken to stay as it is. What is imported by a name that is not written in the code goes unseen.
"""

from __future__ import annotations

import ast
import sys
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path

from prefetch_sim.sim.config.foreign import is_file, spec_of_file

ROOT = Path(__file__).parents[2]
PACKAGES = ("sim", "traces", "hardware_profiles")
_INSTALLED = {"site-packages", "dist-packages"}


def sources(module: str) -> dict[str, Path]:
    """Files by name of their module: of ``module``, and of all that it imports, however deep.

    ``module``: an import path, or a policy's file.
    """
    found: dict[str, Path] = {}
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        spec = spec_of_file(name) if is_file(name) else _find(name)
        full = name if spec is None else spec.name
        if "." in full:
            waiting.append(full.rpartition(".")[0])  # the package, which runs first
        if spec is None or not spec.has_location or spec.origin is None:
            continue
        path = found[full] = Path(spec.origin)
        stat = path.stat()
        waiting += _imports(path, spec.parent or "", stat.st_size, stat.st_mtime_ns)
    return found


def _find(name: str) -> ModuleSpec | None:
    """The module of that name, if it is one that somebody edits. Nothing is imported."""
    above, _, _ = name.rpartition(".")
    if not above:
        if name in sys.stdlib_module_names:
            return None
        try:
            spec = find_spec(name)
        except ValueError:  # it is there, but was not imported: __main__
            return None
    else:
        package = _find(above)
        if package is None or package.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(name, package.submodule_search_locations)
    if spec is None or not spec.has_location or spec.origin is None:
        return spec  # a folder without __init__.py has no place
    path = Path(spec.origin)
    ours = any(path.is_relative_to(ROOT / package) for package in PACKAGES)
    return None if ours or _INSTALLED & set(path.parts) else spec


@lru_cache(maxsize=256)
def _imports(path: Path, package: str, size: int, modified: int) -> tuple[str, ...]:
    """Names of what the file may import. ``size`` and ``modified``: when to read it again."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # no source, or none that can be imported
        return ()
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # from above the topmost package
                continue
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(names)
