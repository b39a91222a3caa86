"""The runs among which an answer chooses: of a situation, in each way that its engine can do."""

from __future__ import annotations

from prefetch_sim.experiments.advising import points
from prefetch_sim.experiments.advising.placements import Placement, Way, placed, ways
from prefetch_sim.experiments.advising.points import Point
from prefetch_sim.experiments.advising.situation import Situation
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.setup.capacities import per_expert


def able(found: Situation) -> tuple[Way, ...]:
    """What there is to try. A split that was asked about is, even where everything would fit."""
    question, place = found.question, found.place
    whole = question.n_cpu_moe is None and asked_bytes(found) is None
    found_ways = ways(place, whole=whole)
    if question.n_cpu_moe is None or not found_ways:
        return found_ways
    if "layers" not in found_ways:
        raise ConfigError(
            f"n-cpu-moe: {place.runtime.name} on {place.profile.name} keeps no layers on a CPU"
        )
    return ("layers",)


def asked_bytes(found: Situation) -> int | None:
    """Bytes of the cache that was asked about; None where there is none, or it holds everything."""
    place, asked = found.place, found.question.cache
    if asked is None:
        return None
    nbytes = asked.resolve(per_expert(place.model, list(place.sizes)), place.room)
    return None if place.everything <= nbytes <= place.room else nbytes


def point(found: Situation, way: Way, *, asked: bool = False) -> tuple[Placement, Point]:
    """One way, run: in the split that was ``asked`` about, if one was; else as much as fits."""
    layers = found.question.n_cpu_moe if asked else None
    cache = asked_bytes(found) if asked else None
    placement = placed(found.place, way, n_cpu_moe=layers, cache=cache)
    return placement, points.run({**found.tree(whole=way == "whole"), **placement.changes})


def fastest(found: Situation) -> tuple[Placement, Point] | None:
    """Of all that the engine can do there; None where it can do nothing."""
    tried = [point(found, way) for way in ways(found.place)]
    return min(tried, key=lambda one: one[1].ms, default=None)
