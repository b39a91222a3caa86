"""Policies by import path or in a file: a config that names one is code, and is run as such.

What can be told without running it is told first: that there is such a module, and that it has what
its place asks for. What goes wrong in it later is told with its file and line.
"""

from __future__ import annotations

import importlib
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from keyword import iskeyword
from pathlib import Path
from traceback import walk_tb
from types import ModuleType, TracebackType
from typing import Any, ParamSpec, TypeVar

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.config.source import hint, look, meant_by

P = ParamSpec("P")
T = TypeVar("T")

_imported: dict[str, ModuleType] = {}  # by the name that a config gives
_written: dict[str, tuple[Path, int]] = {}  # path and time of a file, by that name


class PolicyError(ConfigError):
    """A policy's own mistake. Three lines: what it is, where, and what stands there.

    One line, without a place, of a contract that it breaks.
    """


class BrokenContractError(Exception):
    """What a policy of a ``kind`` gave is not what its contract asks for; ``said`` in words.

    ``policy``: its name, where it is known. ``blamed`` makes a PolicyError of it.
    """

    def __init__(self, kind: str, said: str, policy: str | None = None) -> None:
        super().__init__(kind, said, policy)  # all of them: SimPy makes it anew of its args
        self.kind, self.said, self.policy = kind, said, policy

    def __str__(self) -> str:
        return self.said


def find_module(name: str, what: str, needed: tuple[str, ...]) -> ModuleType:
    """The module ``name``, a ``what``: an import path, or a file that ends with ``.py``.

    A file is run anew each time, so that what one run left in its module is not there in the next;
    a module at an import path is imported once. Raises ConfigError, before it runs if that can be
    told.
    """
    # A console script does not look in the working directory. Last, so that it hides nothing.
    _look_in(os.getcwd())
    find = _of_file if is_file(name) else _of_import_path
    module = find(name, what, needed)
    for one in needed:
        if not callable(getattr(module, one, None)):
            hint = meant_by([one], vars(module))
            raise ConfigError(f"{name!r} is no {what}: it has no {one!r}{hint}")
    _imported[name] = module
    return module


def is_own(name: str) -> bool:
    """Whether a policy of that name was found by import path or in a file."""
    return name in _imported


def is_file(name: str) -> bool:
    """Whether a policy's name is that of a file."""
    return name.endswith(".py")


def file_meant(name: str) -> str:
    """``"; did you mean the file 'mine.py'?"``, if there is one beside a name without its end."""
    near = (f"{name}.py", f"{name.replace('-', '_')}.py")
    return next((f"; did you mean the file {one!r}?" for one in near if os.path.isfile(one)), "")


def written(name: str) -> tuple[Path, int] | None:
    """Which file a policy was found in, and when that was written; None: it was not in a file."""
    return _written.get(name)


def _look_in(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)


def _of_import_path(name: str, what: str, needed: tuple[str, ...]) -> ModuleType:
    if not all(part.isidentifier() and not iskeyword(part) for part in name.split(".")):
        raise ConfigError(f"{what} {name!r}: no import path")
    if name not in sys.modules:
        look(name, _spec(name), what, needed)
    with _running(name, what, name):
        return importlib.import_module(name)


def _of_file(name: str, what: str, needed: tuple[str, ...]) -> ModuleType:
    """The module in a file, run anew."""
    spec = spec_of_file(name)
    if spec is None or spec.origin is None or spec.loader is None:
        raise ConfigError(f"{what} {name!r}: no such file")
    _written[name] = Path(spec.origin), Path(spec.origin).stat().st_mtime_ns
    look(name, spec, what, needed)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    with _running(name, what, spec.name):
        spec.loader.exec_module(module)
    return module


def spec_of_file(name: str) -> ModuleSpec | None:
    """The module in a file, by its name in the package that it lies in, if any; None: no file.

    Where it looks for what it imports is where that package lies.
    """
    try:
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            return None
    except (OSError, RuntimeError, ValueError):  # too long, no such user's home, a NUL
        return None
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    _look_in(str(folder))
    full = ".".join(parts)
    there = sys.modules.get(full)
    if len(parts) == 1 or (there is not None and getattr(there, "__file__", None) != str(path)):
        # So it hides no other module, and is called the same whatever else a process has imported.
        full = f"policy_file.{full}"
    return spec_from_file_location(full, path)


@contextmanager
def _running(name: str, what: str, full: str) -> Iterator[None]:
    """While the code of a module runs, whose ``__name__`` is ``full``: its errors are told."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"cannot import {what} {name!r}: {reason}{_at(error, full)}") from error


def blamed(function: Callable[P, T]) -> Callable[P, T]:
    """``function`` of a config, or of what has one, whose policies' exceptions are PolicyErrors.

    Only Ctrl-C goes through: ``sys.exit``, say, would end the run as if all were well.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (ConfigError, KeyboardInterrupt):
            raise
        except BaseException as error:
            first = next(iter([*args, *kwargs.values()]))
            named = _policies(getattr(first, "config", first))
            if not named:
                raise
            if isinstance(error, BrokenContractError):
                raise PolicyError(_broken(error, named)) from error
            raise PolicyError(_told(error, named)) from error

    return run


def _policies(config: Any) -> list[tuple[str, str]]:
    """(kind, name) of the policies in a config that are not of this package."""
    if not isinstance(config, RunConfig):
        return []
    said = [
        ("eviction", config.cache.eviction.name),
        ("prefetch", config.prefetch.policy),
        ("misses", config.misses.policy),
        *(("predictors", choice.name) for choice in config.predictor),
    ]
    return [(kind, name) for kind, name in said if name in _imported]


def _broken(error: BrokenContractError, named: Sequence[tuple[str, str]]) -> str:
    """The one line of a contract that is broken, and what tries all of it."""
    of_kind = [name for kind, name in named if kind == error.kind] or [name for _, name in named]
    names = [error.policy] if error.policy else list(dict.fromkeys(of_kind))
    what = "policy file" if all(map(is_file, names)) else "policy"
    said = f"{what} {' or '.join(map(repr, names))}: {' '.join(error.said.split())}"
    given = _imported.get(names[0])
    if given is None or given.__spec__ is None:  # a Python object
        return f"{said}; prefetch_sim.check(...) tries all of its contract"
    return f"{said}; 'prefetch-sim check {names[0]}' tries all of its contract"


def _told(error: BaseException, named: Sequence[tuple[str, str]]) -> str:
    policies = list(dict.fromkeys(name for _, name in named))
    said = " ".join(f"{type(error).__name__}: {error}".split())
    told = f"in a run with the policy {', '.join(map(repr, policies))}: {said}"
    steps = list(traced(error))
    last = steps[-1]
    for step in steps:
        if mine := _of(str(step.tb_frame.f_globals.get("__name__")), policies):
            last = step
            left_out = hint(error, step, _imported[mine[0]])
            told = f"the policy {' or '.join(map(repr, mine))} failed: {said}{left_out}"
    code, line = last.tb_frame.f_code, last.tb_lineno
    linecache.checkcache(code.co_filename)  # it may have been written anew since
    text = linecache.getline(code.co_filename, line).strip()
    return f"{told}\n  {code.co_filename}, line {line}, in {code.co_name}\n    {text}"


def traced(error: BaseException) -> Iterator[TracebackType]:
    """The steps of an error's traceback, the innermost last."""
    step = error.__traceback__
    while step is not None:
        yield step
        step = step.tb_next


def _of(module: str, policies: Sequence[str]) -> list[str]:
    """Whose code a module is: the policy's that it is, else those of its package."""
    package = module.partition(".")[0]
    names = {name: _imported[name].__name__ for name in policies}
    return [name for name in policies if names[name] == module] or [
        name for name in policies if names[name].partition(".")[0] == package
    ]


def _at(error: BaseException, name: str) -> str:
    """Where in the module its import ended."""
    if isinstance(error, SyntaxError):  # which says so itself
        return ""
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__") == name:
            return f" ({frame.f_code.co_filename}, line {line})"
    return ""


def _spec(name: str) -> ModuleSpec | None:
    above, _, _ = name.rpartition(".")
    try:
        if not above:
            return find_spec(name)
        package = _spec(above)
    except (ImportError, ValueError):  # __main__, say
        return None
    if package is None or package.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, package.submodule_search_locations)
