"""What two configs differ in, as people write it."""

from __future__ import annotations

from typing import Any

from prefetch_sim.experiments.comparing.comparison import Comparison, Results
from prefetch_sim.experiments.sweeps.points import label
from prefetch_sim.experiments.text import size
from prefetch_sim.hardware_profiles import ProfileError, load_profile

_PARTS = ("hardware.cpu", "hardware.storage")  # of machines, which have one of their own


def changes(c: Comparison) -> list[tuple[str, str, str]]:
    """(path of the config, in A, in B), where they differ."""
    return [
        (path, _value(path, _machines_own(path, a, c.a)), _value(path, _machines_own(path, b, c.b)))
        for path, (a, b) in c.changed.items()
    ]


def _machines_own(path: str, value: Any, side: Results) -> Any:
    """The machine's part, where the config names none in its place."""
    section = path.removeprefix("hardware.")
    machine = side["config"].get("hardware")
    if value is not None or path not in _PARTS or not isinstance(machine, dict):
        return value
    try:
        part = getattr(load_profile(machine["name"]), section)
    except ProfileError:
        return None
    return None if part is None else part.name


def _value(path: str, value: Any) -> str:
    if path.endswith(".capacity") and isinstance(value, dict):
        if value["share"] is not None:
            return f"{100 * value['share']:g} %"
        if value["bytes"] is not None:
            return size(value["bytes"])
        return "fill" if value["fill"] else f"{value['experts']:,} experts"
    return label(value)
