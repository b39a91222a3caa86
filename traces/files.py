"""Files that appear only when they are complete."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that becomes ``path`` once it is whole, and that no error tells of.

    Raises OSError that names ``path``; also where that is no regular file, which none replaces.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EEXIST, "is no regular file, so nothing is written there", str(path))
    target = Path(os.path.realpath(path))  # a link stays one
    temporary = target.with_name(f".{target.name[:60]}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        reason = error.strerror or " ".join(str(error).split())
        raise OSError(error.errno or errno.EIO, reason, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def taken_by(folder: Path) -> str:
    """What ``folder`` holds that other files must not be put beside: "" where there is no such.

    A capture goes on only in a folder that has nothing else in it.
    """
    if any(any(folder.glob(own)) for own in ("part-*.parquet", "part-*.npy", "gates.npz")):
        return "the parts of a trace"
    weights = ("*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth")
    if (folder / "config.json").is_file() and any(any(folder.glob(own)) for own in weights):
        return "a model"
    return ""


def remove_numbered(folder: Path, pattern: str, first: int) -> None:
    """Files such as ``part-00007.KIND.npy`` from number ``first`` on: they are made again."""
    for path in folder.glob(pattern):
        number = path.name.split(".")[0].rpartition("-")[2]
        if number.isdecimal() and int(number) >= first:
            path.unlink()
