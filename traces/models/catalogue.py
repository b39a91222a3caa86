"""The catalogue: shapes of published models, one YAML file each in this folder."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml

from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.names import resolve

_FOLDER = Path(__file__).parent
# What follows a model's name where the shape is the same: tuned for something, dated, repacked.
_IDLE = re.compile(r"instruct|chat|base|thinking|coder|safeguard|it|hf|gguf|v0\.\d|\d{4}")
# Other names of a shape: deepseek-ai's config.json has the same numbers.
_ALSO = {
    "deepseek-v3": re.compile(
        r"deepseek-(?:r1|v3\.1)(?:-zero|-terminus)?(?=$|-base|-gguf|-\d{4})", re.IGNORECASE
    )
}


@cache
def names() -> tuple[str, ...]:
    """Names in the catalogue, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def model_name(text: str) -> str:
    """The catalogue's name of a model as people write it: also of ``Qwen/Qwen3-30B-A3B-Instruct``.

    Raises UnknownNameError where no model has that name, or several have.
    """
    if text in names():
        return text
    _, _, last = text.rpartition("/")  # what stands before it is who published it
    for name, also in _ALSO.items():
        last = also.sub(name, last)
    return resolve("model", last or text, dict.fromkeys(names(), ""), _IDLE)


@cache
def shape(name: str) -> ModelSpec:
    """The shape of a model by its name, as ``model_name`` takes it. Raises UnknownNameError."""
    text = (_FOLDER / f"{model_name(name)}.yaml").read_text(encoding="utf-8")
    return ModelSpec.model_validate(yaml.safe_load(text))
