"""The rule that sets of experts keep, checked over whole arrays."""

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
