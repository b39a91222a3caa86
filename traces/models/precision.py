"""In what precision weights are stored: by part of a model, and GGUF's mixes by tensor.

A GGUF name such as Q4_K_M is of a mix: some tensors, in some layers, have more bits than the
others. The rules are those of llama.cpp (src/llama-quant.cpp, with an importance matrix), which
go by a tensor's name, its layer and the length of its rows.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, model_validator

# One of NAMES, or a kind and its bits a weight, scales included: int4@4.5. ``gguf@4.85`` is a
# GGUF file's mean.
Name = str
NAMES = (
    "f32", "bf16", "f16", "fp8", "mxfp8", "int8", "int4", "mxfp4", "nvfp4",
    "Q2_K", "Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "IQ4_XS", "MXFP4_MOE",
)  # fmt: skip
_WITH_BITS = re.compile(r"(int[2-8]|gguf)@(\d{1,2}(?:\.\d{1,6})?)", re.ASCII)
Kv = Literal["f32", "bf16", "f16", "fp8", "q8_0", "int8", "nvfp4"]
Rate = Literal["bf16", "fp8", "int4", "mxfp4"]

# Bytes of a block and the weights in it, scales included: int4 with one 16-bit scale per 128 (GPTQ,
# AWQ), int8 with scales that do not count, MXFP4 and MXFP8 with one 8-bit scale per 32 (OCP
# Microscaling v1.0), NVFP4 with one per 16, the rest from ggml-common.h.
_BLOCKS: dict[str, tuple[int, int]] = {
    "f32": (4, 1), "bf16": (2, 1), "f16": (2, 1), "fp8": (1, 1), "int4": (66, 128),
    "int8": (1, 1), "mxfp4": (17, 32), "mxfp8": (33, 32), "nvfp4": (9, 16),
    "Q5_0": (22, 32), "Q5_1": (24, 32), "Q8_0": (34, 32), "q8_0": (34, 32),
    "Q2_K": (84, 256), "Q3_K": (110, 256), "Q4_K": (144, 256), "Q5_K": (176, 256),
    "Q6_K": (210, 256), "IQ4_XS": (136, 256), "IQ4_NL": (18, 32),
}  # fmt: skip

# What a mix is of where no rule says otherwise.
_USUAL: dict[str, str] = {
    "Q2_K": "Q2_K", "Q3_K_M": "Q3_K", "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K",
    "Q6_K": "Q6_K", "Q8_0": "Q8_0", "IQ4_XS": "IQ4_XS", "MXFP4_MOE": "mxfp4",
}  # fmt: skip
# Instead of blocks of 256, where a row is no multiple of that.
_SHORT_ROWS = {
    "Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "IQ4_XS": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}  # fmt: skip

# Whose rate of the hardware's a product has. Other GGUF types are expanded to 16 bits, and compute
# at bf16's; those of about 4 bits too, unless a profile says what int4 reaches.
_RATES: dict[str, Rate] = {
    "fp8": "fp8", "mxfp8": "fp8", "int4": "int4", "mxfp4": "mxfp4", "nvfp4": "mxfp4",
    "MXFP4_MOE": "mxfp4",
    "Q2_K": "int4", "Q3_K_M": "int4", "Q4_K_S": "int4", "Q4_K_M": "int4", "IQ4_XS": "int4",
}  # fmt: skip


class Tensor(NamedTuple):
    """A matrix by llama.cpp's name for it. A row has ``columns`` weights."""

    name: str
    columns: int
    rows: int

    @property
    def weights(self) -> int:
        return self.columns * self.rows


class Layer(NamedTuple):
    """Where in a model a tensor is: what the rules of a mix go by beside its name and rows."""

    number: int
    layers: int
    experts: int  # a layer
    shared_heads: int  # query heads to a key/value head


class _Parts(BaseModel):
    """A name for each part of a model.

    One name for all: 32 and 16 bits and GGUF names are of all weights; fp8, int4, mxfp4 and their
    like, of which many kinds leave the rest at 16 bits, of the experts alone. As a key,
    ``name`` stands for that one name, beside keys for what differs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if isinstance(value, _Parts):
            value = dict(value)
        if not isinstance(value, dict):
            value = {"name": value}
        parts = {key: _known(key, name) for key, name in value.items() if name is not None}
        name = parts.pop("name", None)
        if name is not None and not (gguf(name) or name in ("f32", "bf16", "f16")):
            parts = {"experts": name, **parts}
        elif name is not None:
            every = ("experts", "shared", "attention", "head")
            parts = {part: _known(part, name) for part in every} | parts
        return cls._filled(parts)

    @classmethod
    def _filled(cls, parts: dict[str, Any]) -> dict[str, Any]:
        return parts


class Precision(_Parts):
    """What a config gives; the rest, which is None, is as the model was published."""

    experts: Name | None = None
    shared: Name | None = None
    attention: Name | None = None
    head: Name | None = None
    kv: Kv | None = None

    @classmethod
    def of(cls, value: Stored) -> Precision:
        return value if isinstance(value, cls) else cls.model_validate(value)

    def over(self, published: Published) -> Published:
        """This, and what it leaves out as it was published.

        Shared experts that were stored as the routed ones go with them. llama.cpp leaves experts
        that were published in MXFP4 as they are, whatever the mix.
        """
        given = self.model_dump(exclude_none=True)
        if self.head and published.embedding:
            given["embedding"] = None
        if self.experts and published.shared == published.experts:
            given.setdefault("shared", self.experts)
        if published.experts == "mxfp4" and self.experts in _USUAL:
            del given["experts"]
        return published.model_copy(update=given)


class Published(_Parts):
    """What every part of a model is stored in."""

    experts: Name = "bf16"
    shared: Name = "bf16"  # shared experts; where a model does not say, as the routed ones
    attention: Name = "bf16"  # its projections, and dense layers' MLPs; the gates go with them
    head: Name = "bf16"  # lm_head
    embedding: Name | None = None  # None: as lm_head
    kv: Kv = "bf16"  # the KV cache

    @classmethod
    def _filled(cls, parts: dict[str, Any]) -> dict[str, Any]:
        return {"shared": parts["experts"], **parts} if "experts" in parts else parts

    def __str__(self) -> str:
        """One name where that says it all; else, of each part that is not of 16 bits."""
        if self == Published.model_validate(self.experts):
            return self.experts
        return ", ".join(f"{part} {name}" for part, name in self if name not in (None, "bf16"))


Stored = Precision | Published | str | None


def _known(key: str, name: Any) -> Any:
    """``name`` as it is written here, whatever its case. Raises ValueError for an unknown one."""
    if key not in ("name", *Published.model_fields):
        return name
    names: tuple[str, ...] = get_args(Kv) if key == "kv" else NAMES
    given = str(name).lower()
    found = {known.lower(): known for known in names}.get(given)
    with_bits = _WITH_BITS.fullmatch(given)
    if key != "kv" and with_bits and 1 <= float(with_bits[2]) <= 33:
        found = given
    if found is None:
        where = "" if key == "name" else f"{key}: "
        more = "" if key == "kv" else ", or bits a weight: 'int4@4.5'"
        raise ValueError(f"{where}{name!r} is none of {', '.join(map(repr, names))}{more}")
    # MXFP4_MOE is of routed experts; of all else it makes Q8_0.
    return "Q8_0" if found == "MXFP4_MOE" and key not in ("name", "experts") else found


def with_group(bits: int, group: int, extra: int = 16) -> Name:
    """Whole numbers of ``bits`` with ``extra`` bits of scales a ``group``; 0 or -1: of a row."""
    each = bits + (extra / group if group > 0 else 0)
    known = {4.125: "int4", 8: "int8"}
    return known.get(each) or f"int{bits}@{each:.6g}"


def gguf(name: str) -> bool:
    """Whether ``name`` is of GGUF files."""
    return name in _USUAL or name.startswith("gguf@")


def rate(name: str) -> Rate:
    """Whose achieved throughput products of weights in ``name`` have."""
    if "@" in name:
        kind, bits = name.split("@")
        few = float(bits) < 5 if kind == "gguf" else kind in ("int2", "int3", "int4")
        return "int4" if few else "bf16"
    return _RATES.get(name, "bf16")


def size(name: str, weights: float = 1) -> float:
    """Bytes of ``weights`` in one type throughout."""
    if "@" in name:
        return weights * float(name.split("@")[1]) / 8
    nbytes, block = _BLOCKS[name]
    return weights * nbytes / block


def mlp(hidden: int, width: int, suffix: str = "", matrices: int = 3) -> list[Tensor]:
    """The tensors of an expert, of shared ones or of a dense layer's MLP; two have no gate."""
    up = [Tensor(f"ffn_{name}{suffix}", hidden, width) for name in ("gate", "up")[3 - matrices :]]
    return [*up, Tensor(f"ffn_down{suffix}", width, hidden)]


def tensor_bytes(name: str, tensor: Tensor, layer: Layer) -> float:
    """Bytes of ``tensor``, of ``layer``, in a mix or a type."""
    if name in _USUAL:
        name = _mixed(name, tensor, layer)
        if tensor.columns % _BLOCKS[name][1]:
            name = _SHORT_ROWS.get(name, "f16")
        if tensor.columns % _BLOCKS[name][1]:
            name = "f16"
    return size(name, tensor.weights)


def _mixed(mix: str, tensor: Tensor, layer: Layer) -> str:
    """The type of ``tensor`` in ``mix``, should its rows allow it."""
    usual = _USUAL[mix]
    few = layer.experts == 8  # the rules were tried on Mixtral, whose attention is a small part
    i, n = layer.number, layer.layers
    more = i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2
    grouped = layer.shared_heads >= 4
    match tensor.name:
        case "output":
            return "Q8_0" if usual == "Q8_0" or tensor.columns % 256 else "Q6_K"
        case "attn_v" | "attn_k" if few:
            return "Q8_0"
        case "attn_v":
            rules = {
                "Q2_K": "Q4_K" if grouped else "Q3_K",
                "Q3_K_M": "Q5_K" if i < 2 else "Q4_K",
                "Q4_K_S": "Q5_K" if i < 4 else usual,
                "Q4_K_M": "Q6_K" if more else usual,
                "Q5_K_M": "Q6_K" if more else usual,
                "IQ4_XS": "Q5_K" if grouped else usual,
            }
        case "attn_output" if few:
            return usual if usual in ("Q5_K", "Q6_K", "Q8_0") else "Q5_K"
        case "attn_output":
            rules = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K"}
        case "ffn_down" | "ffn_down_exps" | "ffn_down_shexp":
            rules = {
                "Q2_K": "Q3_K",
                "Q3_K_M": "Q5_K" if i < n // 16 else "Q4_K",
                "Q4_K_S": "Q5_K" if i < n // 8 else usual,
                "Q4_K_M": "Q6_K" if more else usual,
                "Q5_K_M": "Q6_K" if more else usual,
            }
        case _:
            return usual
    return rules.get(mix, usual)
