"""Traces written for other tools. One file a format, with ``write(path, trace)``."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from prefetch_sim.traces.errors import did_you_mean
from prefetch_sim.traces.exporters import oracle_general
from prefetch_sim.traces.trace import Trace, TraceError

FORMATS: dict[str, ModuleType] = {"oracle-general": oracle_general}


def export_trace(path: str | Path, trace: Trace, format: str) -> None:
    """Write ``trace`` in one of FORMATS, as one file that appears only when it is complete."""
    if format not in FORMATS:
        raise TraceError(f"unknown format {format!r}{did_you_mean(format, FORMATS)}")
    FORMATS[format].write(Path(path), trace)
