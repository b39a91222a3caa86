"""What a serving engine's own work takes, beside the hardware's. Nothing computes meanwhile.

Each duration is rounded by itself, so that it can be told from what computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prefetch_sim.hardware_profiles import RuntimeProfile

MIB = 2**20


class RuntimeCost(NamedTuple):
    """Holds the ns of each kind of work."""

    step_ns: int  # a forward pass
    layer_ns: int  # a MoE layer, before it
    routing_ns: int  # the routing's way to whoever decides
    miss_ns: tuple[int, ...]  # [layer]: bookkeeping for one expert that was loaded

    @classmethod
    def of(cls, runtime: RuntimeProfile, sizes: Sequence[int]) -> RuntimeCost:
        """``sizes`` [layer]: bytes of one expert."""
        us, us_per_mib = runtime.miss.us.value, runtime.miss.us_per_mib.value
        if runtime.overlap == "per_expert":
            us += runtime.miss.beside_us.value
        return cls(
            round(runtime.step_us.value * 1e3),
            round(runtime.layer_us.value * 1e3),
            round(runtime.routing_us.value * 1e3),
            tuple(round((us + size / MIB * us_per_mib) * 1e3) for size in sizes),
        )

    def total_ns(self, steps: int, bookkeeping: int) -> int:
        """Of a run of ``steps`` forward passes, with so many ns of bookkeeping."""
        every_layer = (self.layer_ns + self.routing_ns) * len(self.miss_ns)
        return steps * (self.step_ns + every_layer) + bookkeeping
