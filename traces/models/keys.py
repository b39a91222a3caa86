"""Keys of a config.json: read and checked one by one, each error naming the key."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]


class ModelConfigError(ValueError):
    """A config.json cannot be read as a Mixture-of-Experts model: one line naming the key."""


class QuantisationError(ModelConfigError):
    """A checkpoint says that it is quantised, in a way that is not known here."""


def short(value: Any) -> str:
    """``value`` as it is written in an error."""
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[-1]}"


def count(config: Config, *keys: str) -> int:
    """The first of ``keys`` that is there: a positive whole number."""
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        if type(value) is not int or value <= 0:
            raise ModelConfigError(
                f"config.json: {key}: {short(value)} is not a positive whole number"
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
        raise ModelConfigError(f"config.json: {key}: {short(value)} is not a list")
    return value


def alike(config: Config, *keys: str, layers: tuple[int, ...] | None = None) -> int:
    """The first of ``keys`` that is there: a count, or a list by layer with one count throughout.

    ``layers``: those of the list that matter. Raises ModelConfigError where they differ.
    """
    for key in keys:
        value = config.get(key)
        if not isinstance(value, list):
            continue
        chosen = [v for i, v in enumerate(value) if layers is None or i in layers]
        if not chosen or any(v != chosen[0] for v in chosen):
            raise ModelConfigError(f"config.json: {key}: layers that differ are not supported")
        return count({key: chosen[0]}, key)
    return count(config, *keys)
