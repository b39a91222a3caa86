"""Which points of a sweep a side means, however people write them: as figures take them, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefetch_sim.experiments.comparing.stored import AXIS, Row
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean


def meant(
    rows: Sequence[Row], axes: Sequence[str], option: str, side: Mapping[str, str], source: str
) -> dict[str, str]:
    """``side`` by whole paths and by labels as ``rows`` have them.

    Raises ConfigError, which names the ``option``, for what the sweep does not have.
    """
    found: dict[str, str] = {}
    for name, text in side.items():
        axis = _axis(axes, name)
        part = None if axis else _part(rows, axes, f"{name}={text}")
        if part is not None:
            axis, label = part
        elif axis is None:
            raise ConfigError(f"{option} {name}: no axis of {source}{did_you_mean(name, axes)}")
        else:
            labels = list(dict.fromkeys(row[AXIS + axis] for row in rows))
            of_it = [label for label in labels if _same(label, text)] or _last(labels, text)
            if not of_it:
                near = did_you_mean(text, labels)
                raise ConfigError(f"{option} {axis}={text}: no such point in {source}{near}")
            label = text if text in of_it else of_it[0]
        if axis in found:
            raise ConfigError(f"{option} {name}={text}: {axis} is said already, as {found[axis]}")
        found[axis] = label
    return found


def _axis(axes: Sequence[str], name: str) -> str | None:
    """The axis of that path, or the only one whose path ends so."""
    name = name.removeprefix(AXIS)
    if name in axes:
        return name
    last = [axis for axis in axes if axis.removesuffix(".name").rpartition(".")[2] == name]
    return last[0] if len(last) == 1 else None


def _part(rows: Sequence[Row], axes: Sequence[str], given: str) -> tuple[str, str] | None:
    """The only label that has ``recall=0.5`` in it, and its axis."""
    key, _, value = given.partition("=")
    found = {
        (axis, label)
        for axis in axes
        for label in {row[AXIS + axis] for row in rows}
        for own, equals, its in (word.partition("=") for word in label.split())
        if equals and own == key and _same(its, value)
    }
    return next(iter(found)) if len(found) == 1 else None


def _last(labels: Sequence[str], text: str) -> list[str]:
    """The only label that is an import path which ends with that name: nbpol.LfuDa by LfuDa."""
    found = [
        label
        for label in labels
        if not label.endswith(".py") and label.lower().endswith(f".{text.lower()}")
    ]
    return found if len(found) == 1 and text.isidentifier() else []


def _same(label: str, text: str) -> bool:
    """Whether both are one value: 1 and 1.0, 20 and 20%, LRU and lru, mine and mine.py."""
    one, other = (
        " ".join(word.removesuffix(".py") for word in value.lower().split())
        for value in (label, text)
    )
    if one == other:
        return True
    try:
        numbers = [float(word.removesuffix("%").replace("_", " ")) for word in (one, other)]
    except ValueError:
        return False
    return numbers[0] == numbers[1] and (one.endswith("%") or not other.endswith("%"))
