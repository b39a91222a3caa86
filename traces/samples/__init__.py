"""The traces that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def samples() -> list[str]:
    """Names of the bundled traces."""
    return sorted(p.stem for p in _FOLDER.glob("*.parquet"))


def sample_path(name: str) -> Path:
    return _FOLDER / f"{name}.parquet"
