"""What a config names: a component by a bare name, or by a mapping with its name and figures."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

HARDWARE, RUNTIME = "rtx-4090", "ideal"  # where a config does not say


class Choice(BaseModel):
    """A component by name, with its own parameters beside the name."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


def named(value: Any) -> Any:
    """``"lru"`` → ``{"name": "lru"}``: a bare name is a mapping with nothing else in it."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and "name" not in value:
        keys = " and ".join(repr(str(key)) for key in value)
        verb = "goes" if len(value) == 1 else "go"
        raise ValueError(f"no name is given{f', which {keys} {verb} with' if keys else ''}")
    if isinstance(value, dict | Choice):
        return value
    raise ValueError(f"expected a name, or a mapping with a name, not {value!r}")


def named_else(default: str) -> BeforeValidator:
    """As ``named``; figures alone are of the default."""

    def parse(value: Any) -> Any:
        return {"name": default, **value} if isinstance(value, dict) else named(value)

    return BeforeValidator(parse)


def assembled(value: Any) -> Any:
    """``gpu`` is another word for ``name``; the names of other parts are mappings with a name."""
    if not isinstance(value, dict):
        return value
    if "gpu" in value and "name" in value:
        raise ValueError("give name or gpu, not both: each is the machine that is taken")
    whole = {"name" if key == "gpu" else key: part for key, part in value.items()}
    for section in ("cpu", "storage"):
        if section in whole and (whole[section] is None or isinstance(whole[section], str)):
            whole[section] = {"name": whole[section] or "none"}
    return whole


Named = Annotated[Choice, BeforeValidator(named)]
Machine = Annotated[Choice, named_else(HARDWARE), BeforeValidator(assembled)]
Runtime = Annotated[Choice, named_else(RUNTIME)]


class ModelChoice(BaseModel):
    """A model by name, or else the trace's, with figures of its shape that are others."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str | None = None
    top_k: int | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {} if value is None else named(value) if isinstance(value, str) else value

    @property
    def figures(self) -> dict[str, Any]:
        return self.model_dump(exclude={"name"}, exclude_none=True)
