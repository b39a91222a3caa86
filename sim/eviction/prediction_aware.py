"""Least recently used, but what a predictor has just named stays until its layer has run.

Named are residents in a prediction, and what a prefetch brings in: all that lands is protected,
as a demanded expert is used at once, which ends its protection.
"""

from __future__ import annotations

from prefetch_sim.sim.eviction.base import State

PROTECTED = 1 << 40  # above any layer-step number


def _protected(score: int) -> bool:
    return score > PROTECTED // 2  # a warm cache is filled before layer-step 0


def inserted(state: State, x: int, now: int) -> int:
    return now + PROTECTED


def used(state: State, x: int, now: int, score: int) -> int:
    return now


def predicted(state: State, x: int, now: int, score: int) -> int:
    return score if _protected(score) else score + PROTECTED


def not_routed(state: State, x: int, now: int, score: int) -> int:
    return score - PROTECTED if _protected(score) else score
