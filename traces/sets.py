"""The rules that sets of experts and their scores keep, checked over whole arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 4096  # rows checked at once: keeps the temporaries of a large trace in cache

Fail = Callable[..., Exception]


def check_sets(where: str, experts: npt.NDArray[Any], count: int, fail: Fail) -> None:
    """Every set of ``experts`` [T, L, w] is whole or absent, in range, and names no expert twice.

    ``fail`` makes the error of a row, a message and a layer.
    """
    for start in range(0, len(experts), BLOCK):
        block = experts[start : start + BLOCK]
        outside = (block < -1) | (block >= count)
        if outside.any():
            row, layer, slot = np.argwhere(outside)[0].tolist()
            expert = block[row, layer, slot]
            message = f"{where}expert {expert} out of range 0..{count - 1}"
            raise fail(start + row, message, layer)
        slots = np.moveaxis(block, 2, 0).copy()  # sorted below, the trace must not be
        absent = slots < 0
        partial = absent.any(axis=0) & ~absent.all(axis=0)
        if partial.any():
            row, layer = np.argwhere(partial)[0].tolist()
            raise fail(start + row, f"{where}set is partly null", layer)
        slots.sort(axis=0)
        twice = (slots[1:] == slots[:-1]) & (slots[1:] >= 0)
        if twice.any():
            slot, row, layer = np.argwhere(twice)[0].tolist()
            message = f"{where}expert {slots[slot, row, layer]} twice in one set"
            raise fail(start + row, message, layer)


def check_scores(where: str, scores: npt.NDArray[Any], fail: Fail) -> None:
    """All ``scores`` [T, L, w] are from 0 to 1, and none is above one before it."""
    for start in range(0, len(scores), BLOCK):
        block = scores[start : start + BLOCK]
        wrong = ~((block >= 0) & (block <= 1))  # NaN compares false
        if wrong.any():
            row, layer, slot = np.argwhere(wrong)[0].tolist()
            message = f"{where}score {float(block[row, layer, slot]):g} is not from 0 to 1"
            raise fail(start + row, message, layer)
        rising = block[:, :, 1:] > block[:, :, :-1]
        if rising.any():
            row, layer, _ = np.argwhere(rising)[0].tolist()
            raise fail(start + row, f"{where}scores rise: they must be best first", layer)
