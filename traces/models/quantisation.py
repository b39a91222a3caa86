"""How a published checkpoint's weights are stored, wherever it says so."""

from __future__ import annotations

import re
from collections.abc import Mapping

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.models.keys import Config, QuantisationError
from prefetch_sim.traces.models.precision import Name, Published
from prefetch_sim.traces.models.quantisation_schemes import Statement

__all__ = ["FILES", "QuantisationError", "published"]

# Files beside a config.json that say it: TensorRT Model Optimizer, AutoGPTQ and AutoAWQ of old.
FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
_METHODS = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
_KEYS = ("quantization_config", "compression_config", "quantization", "quant_config")
_KNOWN = (
    "awq, bitsandbytes, compressed-tensors, fp8, gptq, modelopt, mxfp4, quark, torchao and MLX's"
)
_DTYPES = {
    "float32": "f32", "float": "f32", "float16": "f16", "half": "f16", "bfloat16": "bf16",
    "float8_e4m3fn": "fp8", "float8_e5m2": "fp8",
}  # fmt: skip


def published(config: Config, beside: Mapping[str, Config], layers: int, experts: int) -> Published:
    """In what ``config`` says that its weights are; ``beside``: the contents of FILES, by name.

    What says nothing has 16 bits. Raises QuantisationError, naming the key.
    """
    plain = _plain(config)
    where, stated = _statement(config, beside)
    if not stated:
        return Published.model_validate(plain)
    try:
        found = Statement(stated, plain, layers, experts).read()
        # DeepSeek-V4 says so beside it.
        return found.model_copy(
            update={"experts": "mxfp4"} if config.get("expert_dtype") == "fp4" else {}
        )
    except QuantisationError as error:
        raise QuantisationError(
            f"{where}: {error}; known: {_KNOWN}; `precision: int4`, say, overrides what it is"
        ) from None
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
        RecursionError,
        re.error,
    ):
        raise QuantisationError(
            f"{where}: cannot be read; `precision: int4`, say, overrides what it is"
        ) from None


def _plain(config: Config) -> Name:
    given = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    name = _DTYPES.get(str(given).removeprefix("torch."))
    if name is None:
        raise QuantisationError(
            f"config.json: dtype: {shown(given)} is none of {', '.join(_DTYPES)}; `precision` "
            "overrides it"
        )
    return name


def _statement(config: Config, beside: Mapping[str, Config]) -> tuple[str, Config]:
    """Where the quantisation is stated, and how; an empty one where it is not."""
    found = [(f"config.json: {key}", config[key]) for key in _KEYS if config.get(key)]
    found += [(file, content) for file, content in beside.items() if content]
    strange = [k for k in config if re.search("quanti[sz]|compress.*config|quant_", k.lower())]
    for key in sorted(set(strange) - set(_KEYS)):
        if config[key] and not found:
            raise QuantisationError(
                f"config.json: {key} is not known; `precision` overrides what it is"
            )
    for where, stated in found:
        if not isinstance(stated, dict):
            raise QuantisationError(f"{where}: {shown(stated)} is not a mapping")
        return where, {"quant_method": _METHODS.get(where, ""), **stated}
    return "", {}
