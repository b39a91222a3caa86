"""Works out when what lands is computed in a layer with experts missing, and when that ends.

Nothing is decided while experts only land, so the pass sleeps until all have, and works out from
their landing times when the compute engine was busy. A set larger than the cache streams through:
each expert, or group, that has been computed makes room for what is still to come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prefetch_sim.hardware_profiles import Overlap
from prefetch_sim.sim.cost.model import StepCost
from prefetch_sim.sim.engine.load import PREFETCH, Load
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.protocols import Device

STALLS = 5  # kinds: see ``MissingLayer.stalls``


class MissingLayer:
    """Follows the present layer from its routing to its end, if some of its experts are missing.

    ``work(layer, experts, routed, tokens, beside)`` says how many ns ``experts`` of a routed set
    take; ``beside``: while a load is queued or moves.
    ``free`` is when the compute engine is through with all that has been worked out, so in the end
    when the layer ends; ``stalls`` are ns: demand, late, queue, storage, CPU.
    """

    def __init__(
        self,
        device: Device,
        loader: Loader,
        work: Callable[[int, Sequence[int], list[int], list[int] | None, bool], int],
        *,
        overlap: Overlap,
    ) -> None:
        self.free, self.stalls = 0, [0] * STALLS
        self._device, self._loader, self._work = device, loader, work
        self._grouped = overlap != "per_expert"
        self._shared_waits = overlap == "none"
        self._layer = 0
        self._routed: list[int] = []
        self._tokens: list[int] | None = None
        self._streams = False
        self._costs: tuple[StepCost, ...] = ()  # of the step: alone, and beside loads
        self._first = False  # whether the next group is, so that permuting goes with it
        self._bookkeeping = 0  # ns, once all has been computed
        self._cpu_end = 0  # when the CPU is through with its share
        self._group_end = 0
        self._turn = -1  # when the pass looks next, as something has been computed
        self._on_landing, self._on_served = self._landed, self._served

    def begin(
        self,
        layer: int,
        routed: list[int],
        tokens: list[int] | None,
        costs: tuple[StepCost, StepCost],
        bookkeeping: int,
        cpu_end: int,
        asked: int,
        now: int,
    ) -> None:
        """Demanded at ``asked``; shared experts, then what is resident, compute from ``now`` on,
        or with the groups.

        The layer ends ``bookkeeping`` ns after its last expert has been computed, here and, by
        ``cpu_end``, on the CPU. ``routed`` and ``tokens`` are of those computed here. ``costs``:
        of the step, alone and beside loads.
        """
        loader = self._loader
        resident = loader.cache.resident
        self._layer, self._routed, self._tokens = layer, routed, tokens
        self._bookkeeping, self._cpu_end = bookkeeping, cpu_end
        self.stalls = [0, 0, 0, 0, 0]
        self._streams = streams = not loader.cache.fits(routed)
        ready = [x for x in routed if resident[x]]
        self._costs, self._first = costs, self._grouped
        work = 0 if self._shared_waits else costs[1].shared_ns
        if not self._grouped:
            work += costs[1].moe_fixed_ns
            if not streams:
                work += self._work(layer, ready, routed, tokens, True)
        self.free = self._device.compute(now, work, "experts")
        loader.on_landing = self._on_landing
        if streams:
            self._group_end, self._turn = asked, -1
            if self._grouped:
                loader.on_served = self._on_served
                if ready:
                    self.free = self._compute(ready, self.free, True)
            else:
                for x in ready:
                    self.free = self._compute((x,), self.free, True)
            self._look_after(asked)

    def _landed(self, now: int) -> None:
        """Something has landed, and loads are about to start."""
        loader = self._loader
        if not loader.waiting:
            self._compute_landed()
            if self._cpu_end > self.free:
                self.stalls[4] += self._cpu_end - self.free
                self.free = self._cpu_end
            if self._bookkeeping:
                self.free = self._device.compute(self.free, self._bookkeeping, "bookkeeping")
            loader.unpin_at = self.free
            loader.on_landing = loader.on_served = None
            self._device.wake()
        elif self._streams and not self._grouped:
            self._compute_landed()
            self._look_after(now)

    def _served(self, now: int) -> None:
        """Loads have started: does a group close?"""
        loader = self._loader
        if loader.arrived and self._group_end <= now and not loader.moves(self._routed):
            self._compute_landed()
            self._look_after(now - 1)

    def _look_after(self, time: int) -> None:
        """Take a turn when next something will have been computed, later than ``time``."""
        ends = (end for end, _ in self._loader.computed if end > time)
        if self._turn < 0 and (end := next(ends, -1)) >= 0:
            self._turn = end
            self._device.turn(end, self._look)

    def _look(self, _: object) -> None:
        now, self._turn = self._turn, -1
        if not self._loader.waiting:
            return  # all has landed since
        self._look_after(now)
        self._loader.changed = True
        self._loader.serve(now)
        if self._grouped:
            self._served(now)

    def _compute_landed(self) -> None:
        arrived, free, grouped = self._loader.arrived, self.free, self._grouped
        more, beside = len(arrived), bool(self._loader.in_flight)
        for load in arrived:
            more -= 1
            landed = load.landed
            if landed > free:
                split_stall(load, free, self.stalls)
                free = landed
            if not grouped:
                free = self._compute((load.expert,), free, beside or more > 0)
        if grouped:
            group = [load.expert for load in arrived] if self._streams else self._routed
            free = self._compute(group, free, beside)
        self.free = free
        arrived.clear()

    def _compute(self, experts: Sequence[int], start: int, beside: bool) -> int:
        """Compute ``experts`` from ``start`` on; returns when that ends."""
        work = self._work(self._layer, experts, self._routed, self._tokens, beside)
        if self._first:
            cost = self._costs[beside]
            work += cost.moe_fixed_ns + (cost.shared_ns if self._shared_waits else 0)
            self._first = False
        end = self._device.compute(start, work, "experts")
        if self._streams:
            self._group_end = end
            self._loader.computed.append((end, experts))
        return end


def split_stall(load: Load, since: int, stalls: list[int]) -> None:
    """Share out an idle span that ends with ``load`` landing: demand, late, queue, storage.

    Until its bytes are off storage: storage. Until its link transfer began: queueing behind other
    traffic. The rest is the transfer itself: a demand miss, or a prefetch that came too late.
    """
    end = load.landed
    off_storage = load.storage_done >= 0
    split = load.storage_done if off_storage else load.started
    if split < since:
        split = since
    elif split > end:
        split = end
    stalls[3 if off_storage else 2] += split - since
    stalls[1 if load.origin == PREFETCH else 0] += end - split
