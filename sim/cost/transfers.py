"""One formula says how long a transfer takes: to both engines, to deadlines and to bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapreplace
from math import floor

from prefetch_sim.hardware_profiles import HardwareProfile, RuntimeProfile
from prefetch_sim.sim.cost.runtime import MIB


def transfer_ns(nbytes: int, bytes_per_ns: float, before_ns: float) -> int:
    """``before_ns + nbytes / bytes_per_ns``, rounded once, half to even.

    Every duration of a transfer is one of these, or a sum of them.
    """
    return round(before_ns + nbytes / bytes_per_ns)


def copies_of(nbytes: int, size: int, copies: int) -> int:
    """How many copies ``nbytes`` of an expert of ``size`` bytes take, which goes in ``copies``."""
    return -(-nbytes * copies // size)


@dataclass(frozen=True)
class HostLink:
    """A link that pays an overhead for each copy: a smaller one right behind another.

    An expert goes in ``copies`` of equal size, a part of it in as many as it takes.
    """

    bytes_per_ns: float
    isolated_ns: float
    queued_ns: float  # right behind another transfer
    chunk: int | None  # the most bytes that go at once
    copies: int = 1  # an expert
    contended: float = 1.0  # share of the rate that is left while the CPU computes experts
    name = "host_link"
    lanes = 1

    @property
    def contended_bytes_per_ns(self) -> float:
        return self.bytes_per_ns * self.contended

    def chunk_ns(self, nbytes: int, size: int, behind: bool, contended: bool = False) -> int:
        """ns of a chunk of an expert of ``size``; ``behind``: right behind another transfer."""
        rate = self.contended_bytes_per_ns if contended else self.bytes_per_ns
        alpha = self.queued_ns if behind else self.isolated_ns
        more = copies_of(nbytes, size, self.copies) - 1
        return transfer_ns(nbytes, rate, alpha + more * self.queued_ns)

    def load_ns(self, size: int) -> int:
        """ns of a load whose chunks are each right behind another transfer."""
        whole, rest = divmod(size, self.chunk or size)
        ns = whole * self.chunk_ns(self.chunk or size, size, True)
        return ns + (self.chunk_ns(rest, size, True) if rest else 0)


@dataclass(frozen=True)
class Storage:
    """Reads in parallel lanes over one bus.

    A read takes at least ``bytes / stream_bytes_per_ns``, the bus moves ``bytes_per_ns`` for all
    reads together, and each read pays ``latency_ns``. Small reads are bound by latency, few reads
    by the stream rate, many by the bus: bandwidth by size and depth from three numbers.
    """

    bytes_per_ns: float
    stream_bytes_per_ns: float
    latency_ns: int
    chunk: int  # bytes of a read
    lanes: int
    name = "storage"

    def read(self, now: int, bus_free: int, nbytes: int) -> tuple[int, int]:
        """(When the bus is free again, when it is through) of a read that begins ``now``."""
        bus_free = max(now, bus_free) + transfer_ns(nbytes, self.bytes_per_ns, 0.0)
        stream = now + transfer_ns(nbytes, self.stream_bytes_per_ns, 0.0)
        return bus_free, max(bus_free, stream) + self.latency_ns

    def load_ns(self, nbytes: int) -> int:
        """ns of a load on idle storage."""
        bus_free, ends = 0, [0] * self.lanes
        while nbytes > 0:
            bus_free, end = self.read(ends[0], bus_free, min(nbytes, self.chunk))
            heapreplace(ends, end)
            nbytes -= self.chunk
        return max(ends)


Stage = HostLink | Storage


@dataclass(frozen=True)
class LoadPath:
    """Lists the stages that a load may pass, storage first; ``sizes`` [layer]: of one expert."""

    stages: tuple[Stage, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(
        cls,
        profile: HardwareProfile,
        runtime: RuntimeProfile,
        sizes: Sequence[int],
        *,
        staged: bool,
        cpu: bool = False,
    ) -> LoadPath:
        """``staged``: host memory does not hold every expert. With one memory there is no link.

        ``cpu``: it may compute experts meanwhile.
        """
        load = runtime.load
        stages: list[Stage] = []
        if staged or profile.unified_memory:
            disk = profile.storage
            stages.append(
                Storage(
                    disk.gb_s.value,  # 1 GB/s is 1 byte/ns
                    disk.stream_gb_s.value,
                    round((disk.latency_us.value + load.read_us.value) * 1e3),
                    round(disk.read_mib.value * MIB),
                    int(disk.queue_depth.value),
                )
            )
        if not profile.unified_memory:
            wire = profile.host_link
            assert wire is not None  # the profile's schema sees to it
            stages.append(
                HostLink(
                    wire.gb_s.value,
                    (wire.isolated_us.value + load.issue_us.value) * 1e3,
                    (wire.back_to_back_us.value + load.issue_us.value) * 1e3,
                    round(wire.chunk_mib.value * MIB) if wire.chunk_mib else None,
                    int(load.copies.value),
                    profile.contention.host_link.value if cpu and profile.contention else 1.0,
                )
            )
        return cls(tuple(stages), tuple(sizes))

    @property
    def last(self) -> Stage:
        """The one into the cache."""
        return self.stages[-1]

    @cached_property
    def load_ns(self) -> list[int]:
        """[layer]: one load through the last stage, right behind another or on idle storage."""
        known = {size: self.last.load_ns(size) for size in set(self.sizes)}
        return [known[size] for size in self.sizes]

    def backlog_ns(self, nbytes: int) -> int:
        """How long the last stage moves ``nbytes`` at full rate."""
        return transfer_ns(nbytes, self.last.bytes_per_ns, 0.0)

    @cached_property
    def least_ns(self) -> list[int]:
        """[layer]: the least that the bare bytes of a load can take.

        Rounding may take half a ns off each piece but one. A chunk of the link is full, or all
        that had been read by then.
        """
        chunks = [stage.chunk for stage in self.stages if stage.chunk]
        more = [sum((size - 1) // chunk for chunk in chunks) for size in self.sizes]
        rate = self.last.bytes_per_ns
        return [max(0, floor(size / rate - n / 2)) for size, n in zip(self.sizes, more)]
