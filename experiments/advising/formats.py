"""What engines load: GGUF files or others, and formats that these, or a KV cache, do not have."""

from __future__ import annotations

import re
from typing import NamedTuple

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.traces.models.precision import Precision


class _Gguf(NamedTuple):
    """How an engine reads GGUF files."""

    alone: bool  # nothing else
    mxfp4: bool  # of a model that was published in mxfp4, too


_GGUF = {
    "llama.cpp": _Gguf(alone=True, mxfp4=True),
    "big-moe-on-edge": _Gguf(alone=True, mxfp4=True),
    "imp": _Gguf(alone=False, mxfp4=True),
    "ktransformers": _Gguf(alone=False, mxfp4=False),
}
# nvfp4 is one of GGUF's (ggml-org/llama.cpp#19769).
_NOT_GGUF = re.compile(r"fp8|mxfp8|int\d(@.*)?")
_FOUR_BITS = re.compile(r"int[2-4]\b.*")
_NOT_OF_CACHES = ("fp8", "int8", "nvfp4")
# llama.cpp's flags of a KV cache that is not of 16 bits; V is quantised with flash attention alone.
_KV_FLAGS = {"q8_0": " -fa on -ctk q8_0 -ctv q8_0", "f32": " -ctk f32 -ctv f32"}


def usual(engine: str, published: str) -> tuple[Precision, str]:
    """How weights are stored in what ``engine`` reads where nobody said, and why that is so.

    ``published``: what the model's experts were published in.
    """
    if published in ("bf16", "f16", "f32"):
        return Precision.of("Q4_K_M"), "usual of a model published in 16 bits"
    reads = _GGUF.get(engine)
    if reads and reads.mxfp4 and published == "mxfp4":
        return Precision.of("MXFP4_MOE"), "as published, in a GGUF file"
    if reads and _NOT_GGUF.fullmatch(published):
        return Precision.of("Q4_K_M"), f"as GGUF files have no {published}, which was published"
    return Precision(), ""


def refusal(engine: str, asked: Precision | None) -> str | None:
    """Why ``engine`` cannot load what was ``asked`` for, and what it can; None where it can."""
    if asked is None or engine not in _GGUF or not _GGUF[engine].alone:
        return None
    for part, name in asked:
        if part == "kv" and name in _NOT_OF_CACHES:
            return f"{engine} has no KV cache in {name}: say kv: q8_0"
        if part != "kv" and name is not None and _NOT_GGUF.fullmatch(name):
            other = "Q4_K_M" if _FOUR_BITS.fullmatch(name) else "Q8_0"
            return f"{engine} has no {name}: say {other}"
    return None


def check(engine: str, asked: Precision | None) -> None:
    """Raises ConfigError where ``engine`` cannot load what was ``asked`` for."""
    if why := refusal(engine, asked):
        raise ConfigError(f"quant: {why}")


def kv_flags(kept: str) -> str:
    """llama.cpp's, for a KV cache kept in this format."""
    return _KV_FLAGS.get(kept, "")
