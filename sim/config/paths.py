"""Paths in a config file start at its folder: which keys take one, and how they are seen elsewhere.

A config that is no file, and ``--set``, start at the working directory, as all code does that opens
a path. So a tree is changed as it is read, and as it is written: what it says is where it looks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from prefetch_sim.hardware_profiles import list_parts, list_profiles, list_runtimes
from prefetch_sim.traces.models import catalogue
from prefetch_sim.traces.samples import samples

# Keys that take a path, and the names that are none; a file or folder called so is ./NAME.
_KEYS: dict[str, Callable[[], tuple[str, ...]]] = {
    "trace": samples,
    "trace.synthetic": catalogue.names,
    "trace.loads_per_step": tuple,
    "model": catalogue.names,
    "hardware": list_profiles,
    "hardware.cpu": partial(list_parts, "cpu"),
    "hardware.storage": partial(list_parts, "storage"),
    "runtime": list_runtimes,
    "cache.static.counts": tuple,
    "cache.static.experts": tuple,
}
_POLICIES = {
    "cache.eviction",
    "prefetch",
    "prefetch.policy",
    "misses",
    "misses.policy",
    "predictor",
}
_SUFFIXES = {".yaml", ".yml", ".json", ".gguf", ".parquet", ".csv"}
# Keys that also take what has no suffix, and what has to be there for it to be one; of a model, a
# slash alone may be that of a published id.
_FOLDERS = {"trace": ".", "trace.synthetic": "config.json", "model": "config.json"}


def seen_from_here(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``tree`` of a file in ``folder``, with paths as the working directory sees them."""
    with suppress(ValueError):  # it is elsewhere
        folder = folder.relative_to(Path.cwd()) if folder.is_absolute() else folder
    if str(folder) == ".":
        return tree
    found: dict[str, Any] = _changed(tree, "", folder, lambda path: os.path.join(folder, path))
    return found


def seen_from(folder: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """``tree`` as a file in ``folder`` has to say it: the reverse."""
    found: dict[str, Any] = _changed(tree, "", Path(), lambda path: os.path.relpath(path, folder))
    return found


def absolute(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``tree`` of a file in ``folder``, with paths that are the same from everywhere."""
    whole = folder.resolve()
    found: dict[str, Any] = _changed(tree, "", whole, lambda path: os.path.normpath(whole / path))
    return found


def _changed(value: Any, key: str, folder: Path, change: Callable[[str], str]) -> Any:
    """``value`` at ``key``, or what an axis of a sweep may have there."""
    if isinstance(value, str):
        return change(value) if _is_path(value, _taker(key), folder) else value
    if isinstance(value, list):
        return [_changed(one, key, folder, change) for one in value]
    if isinstance(value, dict):
        above = "" if key in ("", "sweep") else f"{key}."
        return {
            part: _changed(one, f"{above}{part}", folder, change) for part, one in value.items()
        }
    return value


def _taker(key: str) -> str:
    """The key that takes what stands at ``key``: a name may stand for it, or be in it."""
    key = re.sub(r"\.\d+(?=\.|$)", "", key)  # one of several predictors
    return "hardware" if key == "hardware.gpu" else key.removesuffix(".name")


def _is_path(text: str, key: str, folder: Path) -> bool:
    """Whether ``text`` at ``key`` is a path that starts somewhere, seen from ``folder``."""
    if text.startswith("~") or os.path.isabs(text):
        return False
    if key in _POLICIES:  # a name, an import path or a file
        return text.endswith(".py")
    if key not in _KEYS or text in _KEYS[key]():
        return False
    if _KEYS[key] is tuple or text.startswith(("./", "../")) or Path(text).suffix in _SUFFIXES:
        return text != ""
    if key == "trace" and "/" in text:
        return True
    try:
        return key in _FOLDERS and (folder / text / _FOLDERS[key]).exists()
    except (OSError, ValueError):  # too long, a NUL
        return False
