"""Dotted paths of what a file of some shape may hold, and of what it has to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel

from prefetch_sim.hardware_profiles.schema import Figure


def schema_paths(model: type[BaseModel], prefix: str = "", *, inside: bool = True) -> Iterator[str]:
    """Dotted path of every key that a file of this shape may hold; also ``inside`` of figures."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for nested in models_of(field.annotation):
            if inside or not issubclass(nested, Figure):
                yield from schema_paths(nested, f"{prefix}{name}.", inside=inside)


def required_paths(model: type[BaseModel], path: str) -> list[str]:
    """What has to be given where nothing stands at ``path``: itself, or a section's figures."""
    first, _, rest = path.partition(".")
    (nested, *_) = [*models_of(model.model_fields[first].annotation), None]
    if rest:
        return [f"{first}.{below}" for below in required_paths(nested, rest)] if nested else [path]
    if nested is None or issubclass(nested, Figure):
        return [path]
    needed = [name for name, field in nested.model_fields.items() if field.is_required()]
    return [f"{first}.{below}" for name in needed for below in required_paths(nested, name)]


def models_of(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_of(part)
