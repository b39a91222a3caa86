"""Small systems worked out by hand: recorded predictors, and what became of the loads."""

from __future__ import annotations

from typing import Any

from prefetch_sim.sim.engine.records import LayerRecords
from prefetch_sim.traces.format import PredictionInfo

_END = LayerRecords().columns.index("end")


def saying(said: Any, scores: Any = None, **info: Any) -> tuple[PredictionInfo, Any, Any]:
    """A recorded predictor: ``said[token][layer]`` are experts within the layer."""
    trigger, distance = info.get("trigger", "layer_start"), info.get("distance", 0)
    about = PredictionInfo(
        trigger=trigger, distance=distance, flops=0.0, bytes=0, description="by hand"
    )
    if scores is None:
        scores = [[[0.9] * len(layer) for layer in token] for token in said]
    return about, said, scores


def recorded(**columns: Any) -> list[tuple[str, dict[str, Any]]]:
    return [("recorded", {"column": name, **params}) for name, params in columns.items()]


def end(said: dict[str, Any]) -> int:
    return int(said["steps"][-1][5])


def ends(said: dict[str, Any]) -> list[int]:
    """Of each layer."""
    return [row[_END] for row in said["layers"]]


def started(said: dict[str, Any]) -> dict[int, list[int]]:
    """When the loads of each expert did; -1: never."""
    found: dict[int, list[int]] = {}
    for row in said["loads"]:
        found.setdefault(row[0], []).append(row[6])
    return found


def dispositions(said: dict[str, Any]) -> dict[int, list[int]]:
    """How the loads of each expert ended."""
    found: dict[int, list[int]] = {}
    for row in said["loads"]:
        found.setdefault(row[0], []).append(row[4])
    return found
