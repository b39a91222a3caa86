"""Least recently used: the expert whose last use (or arrival) is longest ago."""

from __future__ import annotations

from prefetch_sim.sim.eviction.base import State

ASCENDING = True


def inserted(state: State, x: int, now: int) -> int:
    return now


def used(state: State, x: int, now: int, score: int) -> int:
    return now
