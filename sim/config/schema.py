"""A run's configuration: one vocabulary for single runs, ``--set`` and sweep axes.

``RunConfig`` is what one simulation needs, checked whole before anything runs. Shorthands are
expanded on reading (``hardware: l4`` is ``hardware: {name: l4}``), so every key has one place.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from prefetch_sim.sim.config.choices import (
    HARDWARE,
    RUNTIME,
    Choice,
    Machine,
    ModelChoice,
    Named,
    Runtime,
)
from prefetch_sim.sim.config.errors import did_you_mean
from prefetch_sim.sim.config.values import INT64, Capacity, Section, parse_slice
from prefetch_sim.traces.models.precision import Precision

# Keys that people write at the top, and where they are.
_WRITTEN = {
    **dict.fromkeys(("kernels", "overlap"), "runtime."),
    **dict.fromkeys(("gpu", "cpu", "storage", "host_link"), "hardware."),
    **dict.fromkeys(("recall", "distance"), "predictor."),
}
_PRECISION = ("quant", "quantization", "quantisation", "dtype")


def _counted(value: Any) -> bool:
    return type(value) is int and 0 <= value <= INT64


class StaticConfig(Section):
    """Experts that are in the cache from the start and never leave: one way to say which.

    ``popular`` and ``uniform`` go by the trace's own counts, or by those of a CSV, ``counts``.
    """

    layers: str | tuple[int, ...] | None = None
    popular: Capacity | None = None
    uniform: Capacity | None = None
    experts: str | tuple[tuple[int, int], ...] | None = None
    counts: str | None = None

    @field_validator("layers", mode="before")
    @classmethod
    def _layers(cls, value: Any) -> Any:
        how = "write 'first 12', 'last 12', 'last fill' or [0, 1, 5]"
        if isinstance(value, str):
            match = re.fullmatch(r"\s*(\S+)\s+(\d+|fill)\s*", value)
            count = match and (match[2] if match[2] == "fill" else int(match[2]))
            if match is None or not count:
                raise ValueError(f"{value!r} names no layers: {how}")
            if match[1] not in ("first", "last"):
                raise ValueError(
                    f"{value!r} names no layers{did_you_mean(match[1], ('first', 'last'))}"
                )
            return f"{match[1]} {count}"
        if value is not None and not (isinstance(value, list | tuple) and value):
            raise ValueError(f"{value!r} names no layers: {how}")
        for layer in value or ():
            if not _counted(layer):
                raise ValueError(f"{layer!r} is no layer: {how}")
        return value

    @field_validator("experts", mode="before")
    @classmethod
    def _experts(cls, value: Any) -> Any:
        how = "write a CSV or [[layer, expert], ...]"
        if value is not None and not (isinstance(value, str | list | tuple) and value):
            raise ValueError(f"{value!r} names no experts: {how}")
        for pair in value if isinstance(value, list | tuple) else ():
            if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_counted, pair))):
                raise ValueError(f"{pair!r} is no expert: {how}")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> StaticConfig:
        given = (self.layers, self.popular, self.uniform, self.experts)
        if sum(v is not None for v in given) != 1:
            raise ValueError("give exactly one of layers, popular, uniform or experts")
        if self.counts is not None and self.popular is None and self.uniform is None:
            raise ValueError("counts go with popular or uniform")
        return self


class CacheConfig(Section):
    """The expert cache on the accelerator."""

    capacity: Capacity = Field(default_factory=lambda: Capacity(share=0.25))
    scope: Literal["global", "layer"] = "global"
    eviction: Named = Field(default_factory=lambda: Choice(name="lru"))
    warm: Literal["none", "first", "popular"] = "none"
    static: StaticConfig | None = None

    @field_validator("static", mode="before")
    @classmethod
    def _static(cls, value: Any) -> Any:
        if value == "none":
            return None
        if value is not None and not isinstance(value, dict | StaticConfig):
            ways = ("layers", "popular", "uniform", "experts")
            near = did_you_mean(str(value), ("none", *ways))
            raise ValueError(f"{value!r} says of no experts which: none, or a mapping{near}")
        return value


class HostConfig(Section):
    """Host memory below the cache: what does not fit there is read from storage."""

    capacity: Capacity = Field(default_factory=lambda: Capacity(share=1.0))


def _as_policy(value: Any) -> Any:
    return {"policy": value} if isinstance(value, str) else value


class PrefetchConfig(Section):
    policy: str = "top-k"
    extra: int = Field(default=0, ge=0)
    threshold: float = Field(default=0.5, ge=0, le=1)
    cancel_stale: bool = True

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return _as_policy(value)


class MissesConfig(Section):
    """What becomes of experts that are missing when their layer is routed."""

    policy: str = "load"
    then: Literal["keep", "load"] = "keep"  # what the CPU computed stays where it is, or comes
    up_to: int = Field(default=31, ge=0, le=INT64)  # tokens of a step that the CPU computes for

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return _as_policy(value)


class SyntheticTrace(Section):
    """Routing made up with given statistics, where no recording of a topology exists.

    ``hit_rate`` or ``loads_per_step`` (a CSV): what an LRU cache of size ``at`` is to have.
    """

    synthetic: str
    requests: int | None = Field(default=None, gt=0, le=INT64)
    prompt: int = Field(default=32, ge=0, le=INT64)
    decode: int | None = Field(default=None, gt=0, le=INT64)
    skew: float = Field(default=0.5, ge=0, lt=10)
    reuse: float = Field(default=0.3, ge=0, le=1)
    seed: int = Field(default=0, ge=0, le=INT64)
    hit_rate: float | None = Field(default=None, ge=0, lt=1)
    loads_per_step: str | None = None
    at: Capacity | None = None

    @model_validator(mode="after")
    def _published(self) -> SyntheticTrace:
        if self.hit_rate is not None and self.loads_per_step is not None:
            raise ValueError("give hit_rate or loads_per_step, not both")
        if self.published != (self.at is not None):
            raise ValueError("hit_rate and loads_per_step go with `at`, the size of the cache")
        if self.at is not None and self.at.fill:
            raise ValueError("at: a size is needed, not fill")
        if self.loads_per_step is not None and (self.requests or self.decode):
            raise ValueError("loads_per_step is of one request, whose steps the file counts")
        return self

    @property
    def published(self) -> bool:
        """Whether it is to give what was published of a cache."""
        return self.hit_rate is not None or self.loads_per_step is not None


class RunConfig(Section):
    """Everything one run depends on."""

    name: str = "run"
    # None: the bundled routing of the model, see setup/traces.py.
    trace: str | SyntheticTrace | None = None
    # Parts of a recording: some requests, some tokens of each, some MoE layers. Slices: "0:20".
    requests: str | None = None
    tokens: str | None = None
    layers: str | None = None
    model: ModelChoice = ModelChoice()
    precision: Precision = Precision()
    context: int | None = Field(default=None, gt=0, le=INT64)
    hardware: Machine = Choice(name=HARDWARE)
    runtime: Runtime = Choice(name=RUNTIME)
    cache: CacheConfig = Field(default_factory=CacheConfig)
    host: HostConfig = Field(default_factory=HostConfig)
    predictor: tuple[Named, ...] = ()
    prefetch: PrefetchConfig = Field(default_factory=PrefetchConfig)
    misses: MissesConfig = Field(default_factory=MissesConfig)
    engine: Literal["auto", "simpy", "compiled"] = "auto"
    batch_size: int = Field(default=1, gt=0, le=INT64)
    seed: int = Field(default=0, ge=0, le=INT64)

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key in _WRITTEN:
                raise ValueError(f"{key!r} is written {_WRITTEN[key]}{key}")
            if key in _PRECISION:
                raise ValueError(f"{key!r} is written precision")
        return value

    @field_validator("trace", mode="before")
    @classmethod
    def _trace(cls, value: Any) -> Any:
        # Decided here, so that a wrong key inside is reported once and not per union member.
        return SyntheticTrace.model_validate(value) if isinstance(value, dict) else value

    @field_validator("predictor", mode="before")
    @classmethod
    def _predictors(cls, value: Any) -> Any:
        if value is None or value in ("none", {"name": "none"}):
            return ()
        if not isinstance(value, list | tuple):
            return (value,)
        return [one for one in value if one not in ("none", {"name": "none"})]

    @field_validator("requests", "tokens", "layers", mode="before")
    @classmethod
    def _slice(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            parse_slice(str(value), info.field_name or "")
        return value
