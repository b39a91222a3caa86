"""Traces recorded by other tools, recognised by their content. One file a format.

A module here with a ``FORMAT`` is an importer (``asked.Importer`` says what it has); nothing else
names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import cast

from prefetch_sim.traces.errors import did_you_mean
from prefetch_sim.traces.format import read_trace
from prefetch_sim.traces.importers import plain_csv
from prefetch_sim.traces.importers.asked import PASSES, Asked, Importer
from prefetch_sim.traces.importers.joining import join
from prefetch_sim.traces.importers.source import COUNTS, csv_columns, read_head
from prefetch_sim.traces.importers.tidy import tidy
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.parts import is_trace
from prefetch_sim.traces.trace import Trace, TraceError
from prefetch_sim.traces.validate import validate

__all__ = ["FORMATS", "PASSES", "import_trace"]

_MODULES = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
FORMATS: dict[str, Importer] = {
    module.FORMAT: cast(Importer, module)
    for module in sorted(_MODULES, key=lambda module: module.__name__)
    if hasattr(module, "FORMAT")
}


def import_trace(
    path: str | Path | Sequence[str | Path],
    format: str | None = None,
    model: ModelSpec | None = None,
    passes: str | None = None,
) -> Trace:
    """Read recordings of another tool as one trace and validate it.

    ``path`` is a file, a folder of files or several of either: requests of several are numbered
    on, one file after another; traces of this format may be among them. ``format`` is one of
    FORMATS; by default it is recognised from the content. ``model`` gives the shape where a file
    leaves it open and must agree with what the file says. ``passes``, one of PASSES, says what
    passes of several tokens are (``passes.py``). Raises TraceError: one line that names the file,
    and the line or row at fault.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    if not paths:
        raise TraceError("no file to import")
    if format is not None and format not in FORMATS:
        raise TraceError(f"{paths[0]}: unknown format {format!r}{did_you_mean(format, FORMATS)}")
    if passes is not None and passes not in PASSES:
        raise TraceError(f"{paths[0]}: passes {passes!r} is none of {', '.join(PASSES)}")
    asked = Asked(model, passes)
    files = [file for one in paths for file in _files(one, format)]
    if files == paths and len(files) == 1 and format is None and is_trace(files[0]):
        raise TraceError(f"{files[0]}: is a trace of this format already: use it as it is")
    traces = [_read(file, format, asked) for file in files]
    return traces[0] if len(traces) == 1 else join(paths[0], traces)


def _read(path: Path, format: str | None, asked: Asked) -> Trace:
    if format is None and is_trace(path):
        return read_trace(path)
    head = b"" if path.is_dir() else read_head(path)
    trace = tidy((FORMATS[format] if format else _recognise(head, path)).read(path, asked))
    validate(trace)
    return trace


def _files(path: Path, format: str | None) -> Iterable[Path]:
    """``path`` where it is a file or one recording; else the files in it, as people count."""
    if not path.is_dir() or is_trace(path):
        return [path]
    wanted = [FORMATS[format]] if format else FORMATS.values()
    if any(module.matches(b"", path) for module in wanted):
        return [path]
    found = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    if not found:
        raise TraceError(f"{path}: a folder without files to import")
    return sorted(found, key=_counted)


def _counted(path: Path) -> list[tuple[int, str]]:
    """Sorts ``prompt_2`` before ``prompt_10``."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d{1,18})", path.name)
    ]


def _recognise(head: bytes, path: Path) -> Importer:
    for module in FORMATS.values():
        if module.matches(head, path):
            return module
    if not head.strip():
        raise TraceError(f"{path}: is empty")
    if set(csv_columns(head)) == {"layer", "expert", "count"}:
        raise TraceError(f"{path}: {COUNTS}")
    what = "Parquet, but no trace of this format:" if head.startswith(b"PAR1") else "format"
    wanted = f"a CSV of {','.join(plain_csv.COLUMNS)} (docs/trace-format.md)"
    if told := plain_csv.told(head):
        raise TraceError(f"{path}: format not recognised: {told}; write {wanted}")
    known = ", ".join(sorted(FORMATS))
    raise TraceError(f"{path}: {what} not recognised; known: {known}; or write {wanted}")
