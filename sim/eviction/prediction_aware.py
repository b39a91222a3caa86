"""Least recently used, but what a predictor has just named stays until its layer has run."""

from __future__ import annotations

from typing import Any

PROTECTED = 1 << 40  # above any layer-step number


def new_state(experts: int, layers: int, seed: int, future: Any) -> tuple[()]:
    return ()


def inserted(state: tuple[()], x: int, now: int) -> int:
    return now


def used(state: tuple[()], x: int, now: int, score: int) -> int:
    return now


def predicted(state: tuple[()], x: int, now: int, score: int) -> int:
    return score if score >= PROTECTED else score + PROTECTED


def passed(state: tuple[()], x: int, now: int, score: int) -> int:
    return score - PROTECTED if score >= PROTECTED else score


def evicted(state: tuple[()], x: int, now: int, score: int) -> None:
    pass
