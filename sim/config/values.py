"""Values that a config is made of: sizes of memory, slices, and the base of its sections."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# A size as people write it: 4GiB, 4 gb, 4G. With an i in it, powers of two; else of ten.
_SIZE = re.compile(r"([0-9.]+)\s*(?:(%)|([KMGT])(I?)B?|B)", re.IGNORECASE)
_FILL = ("auto", "max", "all", "rest", "full")  # what others call it

INT64 = 2**63 - 1  # the largest that arrays and compiled code hold


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Capacity(Section):
    """How much fits: a share of all experts, a number of experts, bytes, or what is left (fill)."""

    share: float | None = Field(default=None, gt=0, le=1)
    experts: int | None = Field(default=None, gt=0, le=INT64)
    bytes: int | None = Field(default=None, gt=0, le=INT64)
    fill: Literal[True] | None = None

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if isinstance(value, dict | Capacity):
            return value
        if value == "fill":
            return {"fill": True}
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            meant = "; did you mean 'fill', all that the rest leaves?"
            how = ": write '25%', '4000MiB', 'fill' or {experts: 384}"
            raise ValueError(f"{value!r} is not a capacity{meant if value in _FILL else how}")
        digits, percent, prefix, binary = match.groups()
        try:
            number = float(digits)
        except ValueError:
            raise ValueError(f"{digits!r} is not a number") from None
        if percent:
            if not 0 < number <= 100:
                raise ValueError(f"{value!r} is outside 0 % < share <= 100 %")
            return {"share": number / 100}
        power = "KMGT".index(prefix.upper()) + 1 if prefix else 0
        size = number * (1024 if binary else 1000) ** power
        if size > INT64:
            raise ValueError(f"{value!r} is more than any memory holds")
        return {"bytes": round(size)}

    @model_validator(mode="after")
    def _one_of(self) -> Capacity:
        given = (self.share, self.experts, self.bytes, self.fill)
        if sum(v is not None for v in given) != 1:
            raise ValueError("give exactly one of a share, {experts: N}, bytes or fill")
        return self

    def resolve(self, sizes: list[int], left: int) -> int:
        """Bytes, for a model whose experts have these ``sizes`` (one entry per expert).

        A number of experts is that many of the largest, so that it always fits them. ``left``:
        bytes that the memory has beside all else, of which no more are filled than experts take.
        """
        if self.fill:
            return min(left, sum(sizes))
        if self.bytes is not None:
            return self.bytes
        if self.experts is not None:
            return self.experts * max(sizes)
        assert self.share is not None
        return round(self.share * sum(sizes))


def parse_slice(text: str, of: str = "requests") -> slice:
    """``"0:20"`` → ``slice(0, 20)``; raises ValueError on anything but START:STOP, both >= 0."""
    match = re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is not a slice of {of}: write '0:20'")
    start, stop = (int(part) if part else None for part in match.groups())
    if stop is not None and (start or 0) >= stop:
        raise ValueError(f"{text!r} names no {of.removesuffix('s')}")
    return slice(start, stop)
