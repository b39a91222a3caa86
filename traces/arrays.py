"""Reading numpy's files that others may have damaged: nothing is unpacked before it is measured."""

from __future__ import annotations

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from prefetch_sim.traces.errors import first_line
from prefetch_sim.traces.trace import Array, TraceError

FLOOR, TIMES = 256 << 20, 100  # an archive may unpack to so many bytes, or times its own size
# What numpy and zipfile raise for files that are damaged, cut short or locked.
DAMAGED = (
    OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, SyntaxError, MemoryError,
    OverflowError, AttributeError, NotImplementedError, tokenize.TokenError, lzma.LZMAError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_npz(path: Path, wanted: Callable[[str], Any] = bool) -> dict[str, Array]:
    """The arrays of an npz by name, those whose name is ``wanted``.

    Raises TraceError that names the file, also where two have one name.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [(entry.filename.removesuffix(".npy"), entry) for entry in archive.infolist()]
            entries = [(name, entry) for name, entry in entries if wanted(name)]
            check_unpacked(path, sum(entry.file_size for _, entry in entries))
            found: dict[str, Array] = {}
            for name, entry in entries:
                if name in found:
                    raise ValueError(f"{name[:60]!r} is there twice")
                with archive.open(entry) as file:
                    found[name] = _read(file, entry.file_size)  # type: ignore[arg-type]
            return found
    except TraceError:
        raise
    except DAMAGED as error:
        raise TraceError(f"{path}: damaged: {first_line(error)}") from None


def map_npy(path: Path) -> Array:
    """The array of an npy file, which stays on disk. Raises TraceError that names the file."""
    try:
        with path.open("rb") as file:
            _, _, nbytes = _header(file)
            there = path.stat().st_size - file.tell()
        if there != nbytes:
            raise ValueError(f"its header speaks of {nbytes:,} bytes, it has {there:,}")
        values: Array = np.load(path, mmap_mode="r")
    except DAMAGED as error:
        raise TraceError(f"{path}: damaged: {first_line(error)}") from None
    return values


def parse_npy(content: bytes) -> Array:
    """The array of an npy file that is in memory. Raises one of DAMAGED."""
    return _read(io.BytesIO(content), len(content))


def check_unpacked(path: Path, nbytes: int) -> None:
    """Refuse an archive that unpacks to far more than its size. Raises TraceError."""
    most = max(FLOOR, TIMES * path.stat().st_size)
    if nbytes > most:
        raise TraceError(f"{path}: unpacks to {nbytes:,} bytes, more than {most:,}")


def _read(file: BinaryIO, size: int) -> Array:
    shape, kind, nbytes = _header(file)
    if nbytes > size:
        raise ValueError(f"an array of {nbytes:,} bytes in {size:,}")
    content = file.read(nbytes + 1)
    if len(content) != nbytes:
        raise ValueError(f"an array of {nbytes:,} bytes in {size:,}")
    values: Array = np.frombuffer(bytearray(content), kind)
    return values.reshape(shape[0], order="F" if shape[1] else "C")


def _header(file: BinaryIO) -> tuple[tuple[tuple[int, ...], bool], Any, int]:
    """((Shape, whether in Fortran's order), type, bytes) that an npy's beginning speaks of."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"version {version} of npy")
    shape, fortran, kind = read(file)
    if kind.hasobject:
        raise ValueError("holds Python objects")
    nbytes = kind.itemsize
    for length in shape:
        if type(length) is not int or length < 0:
            raise ValueError(f"a shape of {length!r}")
        nbytes *= length
    return (shape, fortran), kind, nbytes
