"""What evictions that look ahead are told."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Future(NamedTuple):
    """When each expert will be used: flat arrays, for evictions allowed to look ahead.

    The uses of ``x`` are ``positions[start[x]:start[x + 1]]``, ascending layer-step numbers;
    ``cursor[x]`` is the next one not yet looked past.
    """

    positions: npt.NDArray[np.int32]
    start: MutableSequence[int]
    cursor: MutableSequence[int]
