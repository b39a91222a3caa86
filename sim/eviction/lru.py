"""Least recently used: the expert whose last use (or arrival) is longest ago."""

from __future__ import annotations

from typing import Any


def new_state(experts: int, layers: int, seed: int, future: Any) -> tuple[()]:
    return ()


def inserted(state: tuple[()], x: int, now: int) -> int:
    return now


def used(state: tuple[()], x: int, now: int, score: int) -> int:
    return now


def evicted(state: tuple[()], x: int, now: int, score: int) -> None:
    pass
