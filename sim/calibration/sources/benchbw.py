"""FreeToken's benchbw.json, version 4: what its CPU kernels and copies of experts reach.

Read as its writer and its reader have it (FlashML-org/FreeToken, moe/benchbw.py and
moe/bench_profile.py); no file of a real machine was at hand. It gives no spread.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefetch_sim.sim.calibration.samples import Findings, Note, Samples, Stamp
from prefetch_sim.sim.calibration.sources.broken import SourceError, mapping, number

# Its names of formats, and whose rates they are here.
_FORMATS = {
    "bf16": "bf16", "fp16": "bf16", "fp8": "fp8", "ds_fp8": "fp8", "int4": "int4", "gptq": "int4",
    "awq": "int4", "mxfp4": "mxfp4", "nvfp4": "mxfp4", "nvfp4_x": "mxfp4", "ds_fp4": "mxfp4",
}  # fmt: skip
_CEILINGS = {
    "cpu_stream_read_gbs": "host memory, reads",
    "pcie_linear_h2d_gbs": "host link, linear copies",
    "pcie_linear_d2h_gbs": "host link, the way back",
}


def read(content: dict[str, Any], date: str) -> tuple[str, Findings]:
    """Machine and findings. Raises SourceError."""
    gpu = content.get("gpu") or content.get("xpu") or {}
    name = str(gpu.get("name") or "a GPU") if isinstance(gpu, dict) else str(gpu)
    epoch = number(content, "epoch")
    if epoch is not None:
        try:
            date = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d")
        except (ValueError, OverflowError, OSError) as error:
            raise SourceError(f"epoch: {epoch:g} is no date in seconds") from error
    stamp = Stamp(date, name, "FreeToken's bench bw")
    found = Findings()
    ceilings = mapping(content, "ceilings") if "ceilings" in content else {}
    for key, what in _CEILINGS.items():
        if (rate := number(ceilings, key, "ceilings.")) is not None:
            found.notes.append(Note(what, _one(rate), "GB/s"))
    if (rate := number(ceilings, "pcie_linear_h2d_gbs", "ceilings.")) is not None:
        found.hardware["host_link.gb_s"] = stamp.figure(_one(rate), "linear copies, pinned")
    cpu = content.get("cpu")
    if isinstance(cpu, dict) and (threads := number(cpu, "threads_used", "cpu.")):
        found.hardware["cpu.threads"] = stamp.exact(int(threads), "as its CPU kernels ran")
    kernels = mapping(content, "dtype_kernels") if "dtype_kernels" in content else {}
    shares: dict[str, list[float]] = {"cpu": [], "host_link": []}
    for form in kernels:
        one, where = mapping(kernels, form), f"dtype_kernels.{form}."
        alone = number(one, "cpu_moe_gbs", where)
        if alone and form in _FORMATS:
            path = f"cpu.expert_gb_s.{_FORMATS[form]}"
            found.hardware[path] = stamp.figure(_one(alone), f"its CPU kernel for {form}")
        beside, gather = (
            number(one, "cpu_moe_overlap_gbs", where),
            number(one, "pcie_gather_gbs", where),
        )
        if alone and beside:
            shares["cpu"].append(min(1.0, beside / alone))
        both = number(one, "pcie_gather_overlap_gbs", where)
        if gather:
            found.notes.append(Note(f"host link, experts in {form}", _one(gather), "GB/s"))
        if gather and both:
            shares["host_link"].append(min(1.0, both / gather))
    for side, values in shares.items():
        if values:
            found.hardware[f"contention.{side}"] = stamp.figure(
                Samples.of(values), "both at once, of what each reaches alone"
            )
    if not found.hardware:
        raise SourceError("no rate that a profile has a place for")
    return name, found


def _one(value: float) -> Samples:
    return Samples(1, value, value, value)
