"""What is asked: a model on a machine, as people write both."""

from __future__ import annotations

import re
from numbers import Real
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from prefetch_sim.hardware_profiles import yaml_file
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
from prefetch_sim.sim.config.values import INT64, Capacity
from prefetch_sim.traces.errors import describe
from prefetch_sim.traces.models.precision import NAMES, Precision

_NUMBER = r"([0-9]*\.?[0-9]+) ?"
_SIZE = re.compile(_NUMBER + r"([MGT])?(?:i?B)?", re.IGNORECASE)
_RATE = re.compile(_NUMBER + r"(?:GB/s)?", re.IGNORECASE)
_TARGET = re.compile(_NUMBER + r"(ms|s|t(?:ok(?:en)?s?)? ?/ ?s(?:ec)?|tps)?", re.IGNORECASE)
_MIXED = re.compile(r"(i?q\d_k)_(?:x?l|xxl)")  # mixes of a type, larger than its M
_OTHERS = {  # of as many bits a weight, or nearly
    "q4_0": "Q4_K_S", "q4_1": "Q4_K_M", "q5_0": "Q5_K_M", "q5_1": "Q5_K_M", "iq4_nl": "Q4_K_S",
}  # fmt: skip
_BITS = {  # a weight, of those that nothing in the list is like (llama.cpp's quantize)
    "iq1_s": 1.56, "iq1_m": 1.75, "iq2_xxs": 2.06, "iq2_xs": 2.31, "iq2_s": 2.5, "iq2_m": 2.7,
    "iq3_xxs": 3.06, "iq3_xs": 3.3, "iq3_s": 3.44, "iq3_m": 3.66,
}  # fmt: skip
_PCIE = re.compile(
    r"(?:PCI-?e|PCI Express)? ?(?:gen ?)?([345])(?:\.0)? ?[x×] ?(16|8|4)", re.IGNORECASE
)
# GB/s of 16 lanes, pinned, with sources in v100-pcie-32gb, rtx-3060-12gb and rtx-5090.yaml.
_LANES_16 = {"3": 12.35, "4": 25.0, "5": 55.5}
_MOST_MEMORY = 2**50  # a number of bytes, taken as GB, is above
_UNITS = {"M": 2**20, "G": 2**30, "T": 2**40}


class Question(BaseModel):
    """What is asked. All but the model may be left open: then it is detected, or assumed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    gpu: str | None = None
    ram: int | None = Field(
        default=None, gt=0, description="bytes; where there is one memory, of that"
    )
    quant: Precision | None = None
    context: int = Field(default=8192, ge=128, le=INT64, description="tokens of KV cache")
    runtime: str | None = None
    cpu: str | None = None
    drive: str | None = Field(default=None, description="a name, or GB/s")
    link: float | None = Field(default=None, gt=0, description="GB/s")
    n_cpu_moe: int | None = Field(
        default=None, ge=0, le=INT64, description="the first layers, whose experts the CPU keeps"
    )
    cache: Capacity | None = Field(default=None, description="of experts, on the accelerator")
    target: float | None = Field(default=None, gt=0, description="tokens a second")

    @field_validator("model", "gpu", "runtime", "cpu", "drive")
    @classmethod
    def _is_named(cls, text: str) -> str:
        if not text.strip():
            raise ValueError(f"{text!r} is no name")
        return text

    @field_validator("ram", "quant", "link", "cache", "target", "drive", "context", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """A number is what its text on the command line is: ``ram=32`` is 32 GB."""
        field = info.field_name or ""
        if isinstance(value, Real) and field in _NUMBERS:
            value = str(value)
        return _READ[field](value) if isinstance(value, str) and field in _READ else value

    @classmethod
    def of(cls, **given: Any) -> Question:
        """The question of these fields, as text or numbers; None is not given.

        Raises ConfigError that names the field at fault.
        """
        try:
            return cls.model_validate({k: v for k, v in given.items() if v is not None})
        except ValidationError as error:
            raise ConfigError(describe(error, cls).replace("n_cpu_moe", "n-cpu-moe")) from error


def memory(text: str) -> int:
    """``"32GB"`` in bytes. Memory is sold in powers of two, so GB and GiB are the same here."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size of a memory: write 32GB")
    nbytes = round(float(match[1]) * _UNITS[(match[2] or "G").upper()])
    if nbytes > _MOST_MEMORY:
        raise ValueError(f"{text!r} is more than any memory holds: write 32GB")
    return nbytes


def rate(text: str) -> float:
    """``"25"`` or ``"25 GB/s"``."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no rate: write 25, in GB/s")
    return float(match[1])


def _link(text: str) -> float:
    """A rate, or the lanes: ``"PCIe 4.0 x8"``."""
    lanes = _PCIE.fullmatch(text.strip())
    if lanes is not None:
        return _LANES_16[lanes[1]] * int(lanes[2]) / 16
    try:
        return rate(text)
    except ValueError as error:
        raise ValueError(f"{error}, or PCIe 4.0 x16") from None


def _context(text: str) -> Any:
    """``"32k"`` is 32,768 tokens."""
    match = re.fullmatch(r"(\d{1,9}) ?k", text.strip(), re.IGNORECASE)
    return int(match[1]) * 1024 if match else text.replace(",", "")


def _target(text: str) -> float:
    """``"20tok/s"`` or ``"50ms"`` a token, in tokens a second."""
    match = _TARGET.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is no speed: write 20tok/s or 50ms")
    number, unit = float(match[1]), (match[2] or "").lower()
    return {"ms": 1e3, "s": 1.0}[unit] / number if unit in ("ms", "s") else number


def _precision(text: str) -> Precision:
    """A name, or parts as a config has them: ``"{experts: mxfp4, attention: Q6_K}"``."""
    value = _parsed(text) if text.startswith("{") else text
    try:
        return Precision.model_validate(value)
    except ValidationError as error:
        if value is not text:
            raise ValueError(describe(error, Precision)) from None
    lower = {name.lower(): name for name in NAMES}
    asked = text.lower().replace("-", "_").removeprefix("ud_")  # Unsloth's, by tensor
    if asked in _BITS:
        raise ValueError(
            f"{text!r} is in no list; by its bits a weight it is 'gguf@{_BITS[asked]}'"
        )
    if asked in _OTHERS:
        raise ValueError(f"{text!r} is in no list; about as large is {_OTHERS[asked]!r}")
    base = lower.get(_MIXED.sub(r"\1_m", asked)) or lower.get(_MIXED.sub(r"\1", asked))
    if base is not None:
        raise ValueError(f"unknown quantisation {text!r}; of the same type is {base!r}")
    near = did_you_mean(asked, lower)
    for name, written in lower.items():
        near = near.replace(repr(name), repr(written))
    raise ValueError(f"unknown quantisation {text!r}{near}")


def _cache(text: str) -> Any:
    """A size or a share; or a mapping, ``"{experts: 1024}"``."""
    return _parsed(text) if text.startswith("{") else text


def _parsed(text: str) -> Any:
    try:
        return yaml_file.parse_yaml(text)
    except (yaml.YAMLError, ValueError):
        raise ValueError(f"{text!r} is no YAML") from None


_READ = {
    "ram": memory, "quant": _precision, "link": _link, "cache": _cache, "target": _target,
    "context": _context,
}  # fmt: skip
_NUMBERS = ("ram", "link", "target", "drive")  # which may be given as numbers, too
