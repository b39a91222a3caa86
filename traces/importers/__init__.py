"""Traces recorded by other tools, recognised by their content. One file a format.

A format's module has ``matches(head, path)``, which looks at the first bytes (decompressed) and
if need be at the file, and ``read(path, model)``, which gives a Trace or raises TraceError.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from prefetch_sim.traces.errors import did_you_mean
from prefetch_sim.traces.importers import (
    gpt_oss_json,
    gpt_oss_npz,
    imp,
    megatron,
    moe_beyond,
    moe_sim,
    route_trace,
    vllm,
)
from prefetch_sim.traces.importers.source import read_head
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import Trace, TraceError
from prefetch_sim.traces.validate import validate

FORMATS: dict[str, ModuleType] = {
    "route_trace": route_trace,
    "gpt-oss-npz": gpt_oss_npz,
    "gpt-oss-json": gpt_oss_json,
    "moe-beyond": moe_beyond,
    "vllm": vllm,
    "megatron": megatron,
    "moe-sim": moe_sim,
    "imp": imp,
}


def import_trace(
    path: str | Path, format: str | None = None, model: ModelSpec | None = None
) -> Trace:
    """Read a recording of another tool and validate it.

    ``format`` is one of FORMATS; by default it is recognised from the content. ``model`` gives
    the shape where the file leaves it open and must agree with what the file says. Raises
    TraceError: one line that names the file, and the line or row at fault.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise TraceError(f"{path}: unknown format {format!r}{did_you_mean(format, FORMATS)}")
    head = read_head(path)
    trace: Trace = FORMATS[format or _recognise(head, path)].read(path, model)
    validate(trace)
    return trace


def _recognise(head: bytes, path: Path) -> str:
    for name, module in FORMATS.items():
        if module.matches(head, path):
            return name
    if head.startswith(b"PAR1"):
        raise TraceError(f"{path}: is Parquet, which needs no import: use it as a trace")
    raise TraceError(f"{path}: format not recognised; known: {', '.join(sorted(FORMATS))}")
