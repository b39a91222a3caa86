"""Model shapes by name: the catalogue, a YAML file, a Hugging Face config or a GGUF file."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import read_yaml
from prefetch_sim.traces.errors import describe
from prefetch_sim.traces.models import catalogue
from prefetch_sim.traces.models.keys import ModelConfigError
from prefetch_sim.traces.models.named import named_model
from prefetch_sim.traces.models.precision import Stored
from prefetch_sim.traces.models.spec import ModelSpec

_OWN = "; docs/config.md has one with all its fields"


class ModelError(ConfigError):
    """A model that does not exist or does not hold; the message is one line for the user."""


def load_model(name_or_path: str | Path, precision: Stored = None) -> ModelSpec:
    """The spec of all that ``named_model`` takes, or of a YAML file.

    Raises ModelError naming the file and key at fault, or the nearest known name.
    """
    path = Path(os.path.expanduser(name_or_path))
    is_spec = path.suffix in (".yaml", ".yml") and not (path / "config.json").is_file()
    if is_spec and str(name_or_path) not in catalogue.names():
        return _read(path, path.stat().st_mtime_ns if path.exists() else 0)
    try:
        return named_model(name_or_path, precision)
    except ModelConfigError as error:
        raise ModelError(str(error)) from error


def with_figures(model: ModelSpec, figures: dict[str, Any]) -> ModelSpec:
    """``model`` with ``figures`` of its shape in place of its own. Raises ModelError."""
    if not figures:
        return model
    if figures.keys() & {"hidden", "expert_hidden"}:  # what was measured is of other experts
        figures = {"expert_bytes": None, **figures}
    try:
        return ModelSpec.model_validate(model.model_dump() | figures)
    except ValidationError as error:
        raise ModelError(describe(error, ModelSpec)) from error


@lru_cache(maxsize=64)
def _read(path: Path, stamp: int) -> ModelSpec:
    """Read once for all runs of a sweep; ``stamp`` makes an edited file a new one."""
    try:
        return ModelSpec.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ModelError(f"{path}: {describe(error, ModelSpec)}{_OWN}") from error
    except ConfigError as error:
        raise ModelError(str(error)) from error
