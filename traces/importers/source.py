"""Reading a file to import, plain or gzipped, with errors that name it."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefetch_sim.traces.trace import TraceError

# Spreadsheets put a byte order mark before UTF-8.
_MARK = codecs.BOM_UTF8
_GZIP = b"\x1f\x8b"
HEAD_BYTES = 4096


def read_head(path: Path) -> bytes:
    """The first bytes of ``path``, decompressed if it is gzipped."""
    return _read(path, HEAD_BYTES).removeprefix(_MARK)


def read_text(path: Path) -> str:
    """The whole of ``path`` as UTF-8 text, decompressed if it is gzipped."""
    try:
        return _read(path, -1).removeprefix(_MARK).decode()
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not UTF-8 text at byte {error.start}") from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not blank."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            value = parse_json(line, f"{path}: line {number}")
            if not isinstance(value, dict):
                raise TraceError(f"{path}: line {number}: expected a JSON object")
            yield number, value


def parse_json(text: str, place: str) -> Any:
    """What ``text`` holds; an error begins with ``place``."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TraceError(f"{place}: not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets in brackets
        raise TraceError(f"{place}: JSON beyond what can be read") from None


def first_keys(head: bytes) -> set[str]:
    """Names of keys on the first line of JSON lines, as far as ``head`` goes."""
    line = head.lstrip().split(b"\n", 1)[0]
    if not line.startswith(b"{"):
        return set()
    return {name.decode() for name in re.findall(rb'"(\w+)"\s*:', line)}


def npz_arrays(head: bytes, path: Path) -> list[str]:
    """Names of the arrays in an npz; none where ``path`` is not one that can be opened."""
    if not head.startswith(b"PK\x03\x04"):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return []


def _read(path: Path, count: int) -> bytes:
    if not path.exists():
        raise TraceError(f"{path}: no such file")
    if path.is_dir():
        raise TraceError(f"{path}: is a folder; name the file to import")
    try:
        with path.open("rb") as file:
            if file.read(2) != _GZIP:
                file.seek(0)
                return file.read(count)
        with gzip.open(path) as unzipped:
            return unzipped.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from None
