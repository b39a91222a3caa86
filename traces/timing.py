"""How long a call takes, for what is carried along as a cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

WARM = 10  # calls that do not count


def median_us(call: Callable[[], object], rounds: int) -> float:
    """Microseconds, median of ``rounds`` calls after some to warm up."""
    taken = []
    for _ in range(WARM + rounds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return round(1e6 * statistics.median(taken[WARM:]), 2)
