"""Reading numpy's files that others may have damaged: nothing is unpacked before it is measured."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from prefetch_sim.traces.trace import Array, TraceError

FLOOR, TIMES = 256 << 20, 100  # an archive may unpack to so many bytes, or times its own size
_DAMAGED = (
    OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, SyntaxError, MemoryError,
    OverflowError, NotImplementedError, tokenize.TokenError, lzma.LZMAError, struct.error,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an npz by name. Raises TraceError that names the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_unpacked(path, sum(entry.file_size for entry in entries))
            found = {}
            for entry in entries:
                with archive.open(entry) as file:
                    name = entry.filename.removesuffix(".npy")
                    found[name] = _read(file, entry.file_size)  # type: ignore[arg-type]
            return found
    except TraceError:
        raise
    except _DAMAGED as error:
        raise TraceError(f"{path}: damaged: {_reason(error)}") from None


def map_npy(path: Path) -> Array:
    """The array of an npy file, which stays on disk. Raises TraceError that names the file."""
    try:
        with path.open("rb") as file:
            _, _, nbytes = _header(file)
            there = path.stat().st_size - file.tell()
        if there != nbytes:
            raise ValueError(f"its header speaks of {nbytes:,} bytes, it has {there:,}")
        values: Array = np.load(path, mmap_mode="r")
    except _DAMAGED as error:
        raise TraceError(f"{path}: damaged: {_reason(error)}") from None
    return values


def _check_unpacked(path: Path, nbytes: int) -> None:
    most = max(FLOOR, TIMES * path.stat().st_size)
    if nbytes > most:
        raise TraceError(f"{path}: unpacks to {nbytes:,} bytes, more than {most:,}")


def _read(file: BinaryIO, size: int) -> Array:
    shape, kind, nbytes = _header(file)
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


def _reason(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
