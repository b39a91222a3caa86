"""The catalogue: shapes of published models, one YAML file each in this folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from prefetch_sim.traces.models.spec import ModelSpec

_FOLDER = Path(__file__).parent


@cache
def names() -> tuple[str, ...]:
    """Names in the catalogue, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


@cache
def shape(name: str) -> ModelSpec:
    """The shape of one of ``names``."""
    text = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return ModelSpec.model_validate(yaml.safe_load(text))
