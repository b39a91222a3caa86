"""The traces that come with the package, by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def samples() -> tuple[str, ...]:
    """Names of the bundled traces."""
    return tuple(sorted(p.stem for p in _FOLDER.glob("*.parquet")))


def sample_path(name: str) -> Path:
    return _FOLDER / f"{name}.parquet"
