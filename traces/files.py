"""Files that appear only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that becomes ``path`` once it is whole, and that no error tells of."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_numbered(folder: Path, pattern: str, first: int) -> None:
    """Files such as ``part-00007.KIND.npy`` from number ``first`` on: they are made again."""
    for path in folder.glob(pattern):
        number = path.name.split(".")[0].rpartition("-")[2]
        if number.isdecimal() and int(number) >= first:
            path.unlink()
