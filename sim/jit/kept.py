"""Compiled kernels as files, which are used only if they are what was written.

A disk that was full, or a process that was killed, leaves files cut short, and machine code with a
changed byte may do anything. So each file begins with the digest of the rest; one that is not
whole is compiled anew, and where no file can be had, a kernel lives as long as its process.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

_DIGEST = hashlib.sha256().digest_size


class KernelCache(_Cache):  # type: ignore[misc]
    """The compiled forms of one function in ``folder``, a file a signature and processor.

    The folder is of one state of the code, so a file has to tell apart only what it is made for.
    """

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._name, self._folder = f"{function.__module__}.{function.__qualname__}", folder

    @property
    def cache_path(self) -> str:
        return str(self._folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled form, or None where it has to be compiled."""
        target_context.refresh()
        key = self._key(sig, target_context.codegen())
        path = self._path(key)
        try:
            if not path.is_file():
                return None
            content = path.read_bytes()
            if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
                return None
            made_for, reduced = pickle.loads(content[_DIGEST:])
            return CompileResult._rebuild(target_context, *reduced) if made_for == key else None
        except Exception:  # whatever it is that keeps a file from being used
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if any(not lifted.can_cache for lifted in data.lifted) or data.library.has_dynamic_globals:
            return  # it holds addresses of this process
        key = self._key(sig, data.codegen)
        body = dumps((key, data._reduce()))
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                return
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(body).digest() + body)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError:  # no room, or no such rights
            pass

    def has_any(self) -> bool:
        """Whether some form was compiled before, for whatever signature."""
        return any(self._folder.glob(f"{self._stem}-*.kernel"))

    def enable(self) -> None:
        pass

    def disable(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def _key(self, sig: Any, codegen: Any) -> str:
        return repr((self._name, str(sig), codegen.magic_tuple()))

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return self._folder / f"{self._stem}-{digest}.kernel"

    @property
    def _stem(self) -> str:
        return self._name.rpartition(".")[2]
