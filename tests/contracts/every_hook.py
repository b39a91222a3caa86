"""An eviction with every hook and few scores, so that scores fall, rise again and tie."""

from __future__ import annotations

from prefetch_sim.sim.eviction.base import State


def inserted(state: State, x: int, now: int) -> int:
    return x % 2


def used(state: State, x: int, now: int, score: int) -> int:
    return (x + now) % 2


def not_routed(state: State, x: int, now: int, score: int) -> int:
    return 0


def predicted(state: State, x: int, now: int, score: int) -> int:
    return 1


def spared(state: State, x: int, now: int, score: int) -> int:
    return (score + x + now) % 2


def evicted(state: State, x: int, now: int, score: int) -> None:
    pass
