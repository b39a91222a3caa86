"""Reading a file to import, plain or gzipped, with errors that name it."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from traces.trace import TraceError

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
