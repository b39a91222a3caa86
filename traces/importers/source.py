"""Reading a file to import, plain or gzipped, with errors that name it."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefetch_sim.traces.arrays import DAMAGED, FLOOR, TIMES
from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.trace import TraceError

# Spreadsheets put a byte order mark before UTF-8.
_MARK = codecs.BOM_UTF8
_GZIP = b"\x1f\x8b"
HEAD_BYTES = 4096
COUNTS = (
    "counts how often experts were used, which is no trace; a run takes it as cache.static.counts"
)
LISTS = ("experts",)  # columns of a CSV that may go on to the end of a row


def as_float(number: float) -> float:
    """A number of JSON, which may have any digits, as a float; no weight where it is huge."""
    return float(min(max(number, -1e38), 1e38))


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


def csv_columns(head: bytes) -> dict[str, None]:
    """Names of the columns on the first line, in small letters and in their order."""
    line = head.decode(errors="replace").split("\n", 1)[0]
    return dict.fromkeys(_header(line.split(_separator(line))))


def _separator(header: str) -> str:
    """What stands between the columns: a comma, or what spreadsheets put there elsewhere."""
    return next((sign for sign in ",;\t" if sign in header), ",")


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of each row by the name of their column, in small letters.

    ``columns`` must be there. A row may be longer where the last column is a list: what is beyond
    is of that column, with commas between.
    """
    csv.field_size_limit(2**31 - 1)  # embeddings; the whole file is in memory anyway
    text = read_text(path)
    between = _separator(text.split("\n", 1)[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    try:
        header = _header(next(reader, []))
        for name in columns:
            if name not in header:
                raise TraceError(f"{path}: line 1: no column {name!r}")
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise TraceError(f"{path}: line 1: column {shown(twice)} twice")
        for fields in reader:
            if not fields:
                continue
            if header[-1] in LISTS and len(fields) > len(header):
                fields[len(header) - 1 :] = [",".join(fields[len(header) - 1 :])]
            if len(fields) != len(header):
                message = f"{len(fields)} fields, expected {len(header)}"
                raise TraceError(f"{path}: line {reader.line_num}: {message}")
            yield reader.line_num, dict(zip(header, fields))
    except csv.Error as error:
        raise TraceError(f"{path}: line {reader.line_num}: {error}") from None


def _header(fields: list[str]) -> list[str]:
    return [field.strip().strip('"').lower() for field in fields]


def parse_json(text: str, place: str) -> Any:
    """What ``text`` holds; an error begins with ``place``."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, character {error.colno}"
        raise TraceError(f"{place}: not JSON: {error.msg} at {where}") from None
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
    return [name.removesuffix(".npy") for name in zip_names(head, path)]


def zip_names(head: bytes, path: Path) -> list[str]:
    """Names of the files in a zip; none where ``path`` is not one that can be opened."""
    if not head.startswith(b"PK\x03\x04"):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except DAMAGED:
        return []


def _read(path: Path, count: int) -> bytes:
    if not path.exists():
        raise TraceError(f"{path}: no such file")
    if path.is_dir():
        raise TraceError(f"{path}: is a folder, not a file of this format")
    try:
        with path.open("rb") as file:
            if file.read(2) != _GZIP:
                file.seek(0)
                return file.read(count)
        most = max(FLOOR, TIMES * path.stat().st_size)
        with gzip.open(path) as unzipped:
            found = unzipped.read(count if count >= 0 else most + 1)
        if len(found) > most:
            raise TraceError(f"{path}: unpacks to more than {most:,} bytes")
        return found
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from None
