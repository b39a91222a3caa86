"""Keys of a config.json: read and checked one by one, each error naming the key."""

from __future__ import annotations

from typing import Any

from prefetch_sim.traces.errors import shown

Config = dict[str, Any]


class ModelConfigError(ValueError):
    """A config.json cannot be read as a Mixture-of-Experts model: one line naming the key."""


class QuantisationError(ModelConfigError):
    """A checkpoint says that it is quantised, in a way that is not known here."""


def count(config: Config, *keys: str) -> int:
    """The first of ``keys`` that is there: a positive whole number."""
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        if type(value) is not int or value <= 0:
            raise ModelConfigError(
                f"config.json: {key}: {shown(value)} is not a positive whole number"
            )
        return value
    raise ModelConfigError(f"config.json: {' or '.join(keys)} is missing")


def optional(config: Config, *keys: str) -> int:
    """The first of ``keys`` that is neither missing, null nor zero; else 0."""
    for key in keys:
        if config.get(key):
            return count(config, key)
    return 0


def items(config: Config, key: str) -> list[Any] | None:
    """The list at ``key``; None where it is missing or null."""
    value = config.get(key)
    if value is not None and not isinstance(value, list):
        raise ModelConfigError(f"config.json: {key}: {shown(value)} is not a list")
    return value


def alike(config: Config, *keys: str) -> int:
    """The first of ``keys`` that is there: a count, or a list by layer with one count throughout.

    Raises ModelConfigError where they differ.
    """
    for key in keys:
        value = config.get(key)
        if not isinstance(value, list):
            continue
        if not value or any(one != value[0] for one in value):
            raise ModelConfigError(f"config.json: {key}: layers that differ are not supported")
        return count({key: value[0]}, key)
    return count(config, *keys)
