"""Model shapes by name: the catalogue, a YAML file, a Hugging Face config or a GGUF file."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import read_yaml
from prefetch_sim.traces.errors import describe, looked_for
from prefetch_sim.traces.models import catalogue
from prefetch_sim.traces.models.gguf_file import read_gguf
from prefetch_sim.traces.models.hf_config import ModelConfigError, read_hf_config
from prefetch_sim.traces.models.precision import Stored
from prefetch_sim.traces.models.quantisation import FILES
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.names import UnknownNameError

_MOST_BYTES = 16 << 20  # of a config.json


class ModelError(ConfigError):
    """A model that does not exist or does not hold; the message is one line for the user."""


def load_model(name_or_path: str | Path, precision: Stored = None) -> ModelSpec:
    """The spec of a catalogue name, of a YAML file, of a Hugging Face model or of a GGUF file.

    A name is taken as people write it (``Qwen/Qwen3-30B-A3B``); one written as the catalogue has it
    goes before a folder called so, any other after.
    Of a Hugging Face model, the folder or the ``config.json`` in it, after which it is named; of a
    GGUF file in parts, the first. ``precision``: what a run says the weights are in, which stands
    for a quantisation that cannot be read. Raises ModelError naming the file and key at fault, or
    the nearest known name.
    """
    text = str(name_or_path)
    if text in catalogue.names():
        return catalogue.shape(text)
    path = Path(os.path.expanduser(text))
    if (path / "config.json").is_file():
        path = path / "config.json"
    if path.suffix in (".yaml", ".yml"):
        return _spec(path)
    if path.suffix in (".gguf", ".json") and not path.exists():
        raise ModelError(f"{path}: no such file{looked_for(path)}")
    try:
        if path.suffix == ".gguf":
            return _gguf(path, _stamp(path))
        if path.suffix == ".json":
            beside = {file: _json(path.with_name(file)) for file in FILES if _is(path, file)}
            name = path.resolve().parent.name
            return read_hf_config(_json(path), name, beside=beside, precision=precision)
    except ModelConfigError as error:
        raise ModelError(f"{path}: {error}") from error
    try:
        return catalogue.shape(catalogue.model_name(text))
    except UnknownNameError as error:
        place = f"; and no folder {text} has a config.json" if "/" in text else ""
        raise ModelError(f"{error}{place}") from None


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


def _is(path: Path, file: str) -> bool:
    return path.name == "config.json" and path.with_name(file).is_file()


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _spec(path: Path) -> ModelSpec:
    return _read(path, _stamp(path))


# Read once for all runs of a sweep; ``stamp`` makes an edited file a new one.


@lru_cache(maxsize=8)
def _gguf(path: Path, stamp: int) -> ModelSpec:
    return read_gguf(path)


@lru_cache(maxsize=64)
def _read(path: Path, stamp: int) -> ModelSpec:
    try:
        return ModelSpec.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ModelError(f"{path}: {describe(error, ModelSpec)}") from error
    except ConfigError as error:
        raise ModelError(str(error)) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ModelError(f"{path}: is larger than {_MOST_BYTES >> 20} MiB")
        content = json.loads(text)  # of any encoding of Unicode, with its mark or without
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a mapping, found {type(content).__name__}")
    return content
