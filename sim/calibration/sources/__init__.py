"""What others have measured, as figures: one file a format, which says what it was checked on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from prefetch_sim.sim.calibration.samples import Findings
from prefetch_sim.sim.calibration.sources import benchbw, metrics, probe, timing
from prefetch_sim.sim.calibration.sources.broken import SourceError
from prefetch_sim.sim.config.errors import ConfigError

KNOWN = (
    "the JSON of gpu_probe.py",
    "FreeToken's benchbw.json",
    "BigMoeOnEdge's metrics",
    "the timing record of trace capture --timing (its folder, or a timing-*.parquet in it)",
)
_LARGEST = 256 * 2**20  # bytes: more than that is no such file


class Source(NamedTuple):
    """What was read, of which machine; ``unified``: it has one memory."""

    format: str
    machine: str
    unified: bool
    findings: Findings


def read(path: Path) -> Source:
    """Read the measurements in ``path``, whichever format it has. Raises ConfigError."""
    try:
        return _read(path)
    except SourceError as error:
        raise ConfigError(f"--from: {path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"--from: {path}: {error.strerror or error}") from error


def _read(path: Path) -> Source:
    if path.is_dir() or path.suffix == ".parquet":
        machine, found = timing.read(path)
        return Source("timing record", machine, True, found)
    if not path.exists():
        raise SourceError("no such file")
    if path.stat().st_size > _LARGEST:
        raise _unknown()
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    date = timing.day(path)
    if text.lstrip().startswith("{"):
        content = _json(text)
        if "link" in content and "machine" in content:
            name, unified, found = probe.read(content)
            return Source("gpu_probe.py", name, unified, found)
        if "dtype_kernels" in content or "ceilings" in content:
            name, found = benchbw.read(content, date)
            return Source("benchbw.json", name, False, found)
    elif "wall_ms" in text[:1000] and "read_bytes" in text[:1000]:
        return Source("metrics", path.stem, True, metrics.read(text, path.stem, date))
    raise _unknown()


def _json(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"not valid JSON: {error}") from error
    return content if isinstance(content, dict) else {}


def _unknown() -> SourceError:
    return SourceError(f"none of the formats that are known: {'; '.join(KNOWN)}")
