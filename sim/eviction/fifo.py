"""First in, first out: the expert that arrived first, however often it is used."""

from __future__ import annotations

from typing import Any

State = tuple[list[int]]


def new_state(experts: int, layers: int, seed: int, future: Any) -> State:
    return ([0],)  # arrivals so far


def inserted(state: State, x: int, now: int) -> int:
    (arrivals,) = state
    arrivals[0] += 1
    return arrivals[0]


def used(state: State, x: int, now: int, score: int) -> int:
    return score


def evicted(state: State, x: int, now: int, score: int) -> None:
    pass
