"""What engines cannot load: formats that GGUF files, or llama.cpp's KV cache, do not have."""

from __future__ import annotations

import re

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.traces.models.precision import Precision

_GGUF_ALONE = ("llama.cpp", "big-moe-on-edge")  # read nothing else
GGUF = ("llama.cpp", "imp", "big-moe-on-edge", "ktransformers")  # read them
# nvfp4 is one of GGUF's (ggml-org/llama.cpp#19769).
_NOT_GGUF = re.compile(r"fp8|mxfp8|int\d(@.*)?")
_FOUR_BITS = re.compile(r"int[2-4]\b.*")
_NOT_OF_CACHES = ("fp8", "int8", "nvfp4")
# llama.cpp's flags of a KV cache that is not of 16 bits; V is quantised with flash attention alone.
_KV_FLAGS = {"q8_0": " -fa on -ctk q8_0 -ctv q8_0", "f32": " -ctk f32 -ctv f32"}


def in_gguf(name: str) -> bool:
    """Whether a GGUF file can have weights in this format."""
    return _NOT_GGUF.fullmatch(name) is None


def refusal(engine: str, asked: Precision | None) -> str | None:
    """Why ``engine`` cannot load what was ``asked`` for, and what it can; None where it can."""
    if asked is None or engine not in _GGUF_ALONE:
        return None
    for part, name in asked:
        if part == "kv" and name in _NOT_OF_CACHES:
            return f"{engine} has no KV cache in {name}: say kv: q8_0"
        if part != "kv" and name is not None and not in_gguf(name):
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
