"""Events, and the loads that wait, start, move and land."""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from literal.memory import Tier, warm_order
from prefetch_sim.sim.eviction import lru
from prefetch_sim.sim.setup.inputs import Inputs

LANDING, PREDICTION, PASS = range(3)  # kinds of events, in their order at one instant
MIB = 2**20
FIRST = (0, 0, 0)  # the order of a demand


@dataclass(eq=False)
class Load:
    expert: int
    nbytes: int
    predictor: int  # -1: demanded, or behind
    target: int  # layer-step
    order: tuple[int, ...]
    age: int
    issued: int
    demanded: bool = False
    behind: bool = False
    unread: int = 0  # bytes that wait to be read from storage
    waiting: int = 0  # bytes that wait for the host link
    read: int = 0  # bytes off storage
    arrived: int = 0  # bytes in the cache
    started: int = -1
    off_storage: int = -1  # when the last byte was
    landed: int = -1
    needed: int = -1

    @property
    def origin(self) -> int:
        return 2 if self.behind else int(self.predictor >= 0)

    @property
    def moves(self) -> bool:
        return self.started >= 0


@dataclass
class Reading:
    """What the engines report of a run."""

    steps: list[tuple[int, ...]] = field(default_factory=list)
    layers: list[tuple[int, ...]] = field(default_factory=list)
    loads: list[tuple[int | str, ...]] = field(default_factory=list)
    # Proposals by how they ended, and whether for a prefill.
    counts: Counter[tuple[bool, str]] = field(default_factory=Counter)
    proposed: int = 0
    moved: Counter[tuple[str, int]] = field(default_factory=Counter)  # stage, origin


class Transfers(ABC):
    """Memory, queues and links of one run."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs, self.config, self.workload = inputs, inputs.config, inputs.workload
        self.prefills = [step.prefill for step in self.workload.steps()]
        layers, experts = self.workload.layers, self.workload.experts
        self.sizes = [size for size in inputs.sizes for _ in range(experts)]
        ahead = getattr(inputs.eviction, "LOOKS_AHEAD", False)
        self.cache = Tier(
            self.sizes, inputs.cache_bytes, inputs.eviction, layers, self.config.seed,
            self.workload.future() if ahead else None, inputs.static,
        )  # fmt: skip
        self.cache.fill(warm_order(inputs, self.config.cache.warm))
        self.cache.left = self.left_cache
        self.host: Tier | None = None  # where every expert is in host memory
        if inputs.host_bytes is not None:
            self.host = Tier(self.sizes, [inputs.host_bytes], lru, layers, 0, None)
            self.host.fill([x for x in warm_order(inputs, "first") if x not in inputs.static])
            self.host.left = self.left_host
        self.link: Any = inputs.profile.host_link
        self.storage = inputs.profile.storage

        self.now = self.caused = self.ages = 0
        self.events: list[tuple[int, int, int, Callable[[], None]]] = []
        self.underway: dict[int, Load] = {}  # queued or moving
        self.unused: dict[int, Load] = {}  # prefetched and landed
        self.reading = self.bus_free = 0
        self.carrying, self.carried = False, -1  # the host link: busy, and until when it was
        self.cpu_until = -1  # when the CPU is through with its experts
        self.told = Reading()

    @abstractmethod
    def pinned(self, x: int) -> bool:
        """Whether ``x`` is now."""

    @abstractmethod
    def arrives_early(self, load: Load) -> None:
        """What nothing waits for has landed."""

    @abstractmethod
    def arrives(self, load: Load) -> None:
        """What the pass waits for has landed."""

    def at(self, time: int, kind: int, what: Callable[[], None]) -> None:
        self.caused += 1
        heapq.heappush(self.events, (time, kind, self.caused, what))

    def queue(
        self, x: int, predictor: int, target: int, order: tuple[int, ...], behind: bool = False
    ) -> None:
        self.ages += 1
        load = Load(x, self.sizes[x], predictor, target, order, self.ages, self.now, behind=behind)
        if self.link is None or (self.host is not None and x not in self.host.scores):
            load.unread = load.nbytes
        else:
            load.waiting = load.nbytes
        self.underway[x] = load

    def cancel(self, layer: int, named: set[int]) -> None:
        """Queued prefetches for the layer, but of those in ``named``."""
        for x, load in list(self.underway.items()):
            stale = x // self.workload.experts == layer and x not in named
            if stale and not (load.moves or load.demanded or load.behind):
                self.settle(self.underway.pop(x), "cancelled")

    def counts_end(self, target: int, disposition: str) -> None:
        """A proposal for layer-step ``target`` has ended so."""
        self.told.counts[self.prefills[target // self.workload.layers], disposition] += 1

    def settle(self, load: Load, disposition: str) -> None:
        if load.origin == 1:
            self.counts_end(load.target, disposition)
        what = load.expert, load.origin, load.predictor, load.target, disposition
        times = load.issued, load.started, load.landed, load.needed, self.now
        self.told.loads.append((*what, *times))

    def start_loads(self) -> None:
        """Storage's queue first, then the host link's."""
        while self.reading < self.storage.queue_depth.value and (load := self.next("unread")):
            self.start_read(load)
        while not self.carrying and (load := self.next("waiting")):
            self.start_chunk(load)

    def next(self, queue: str) -> Load | None:
        """Who starts or goes on next in the queue, its room held."""
        waits = False  # a demand does, for room
        queued = [load for load in self.underway.values() if getattr(load, queue) > 0]
        for load in sorted(queued, key=lambda load: (load.order, load.age)):
            if load.moves:
                return load
            if waits:
                continue
            if self.takes_room(load):
                load.started = self.now
                return load
            if load.demanded:
                waits = True
            else:
                self.settle(self.underway.pop(load.expert), "dropped")
        return None

    def takes_room(self, load: Load) -> bool:
        """Room is made in every tier of its path, or in none."""

        def stays_in_host(y: int) -> bool:
            other = self.underway.get(y)
            if other is None:
                return False
            return other.moves or other.demanded or not load.demanded

        tiers: list[tuple[Tier, Callable[[int], bool]]] = [(self.cache, self.pinned)]
        if self.host is not None and load.unread:
            tiers.append((self.host, stays_in_host))
        if not all(tier.has_room(load.expert, stays) for tier, stays in tiers):
            return False
        for tier, stays in tiers:
            tier.hold_room(load.expert, stays)
        return True

    def left_cache(self, x: int) -> None:
        if x in self.unused:
            self.settle(self.unused.pop(x), "useless")

    def left_host(self, x: int) -> None:
        """A queued prefetch of what has left goes on waiting at storage."""
        if x in self.underway:
            load = self.underway[x]
            load.unread, load.waiting = load.waiting, 0

    def chunk(self, nbytes: int) -> int:
        size = self.link.chunk_mib
        return nbytes if size is None else min(nbytes, round(size.value * MIB))

    def chunk_ns(self, n: int, whole: int, behind: bool, beside_cpu: bool = False) -> int:
        """Of ``n`` bytes of an expert of ``whole`` bytes: each copy pays, the first as it comes."""
        link, of_load = self.link, self.inputs.runtime.load
        first = link.back_to_back_us if behind else link.isolated_us
        copies = math.ceil(n * int(of_load.copies.value) / whole)
        before = (first.value + of_load.issue_us.value) * 1000
        before += (copies - 1) * ((link.back_to_back_us.value + of_load.issue_us.value) * 1000)
        rate = link.gb_s.value
        shares = self.inputs.profile.contention
        if shares is not None and beside_cpu:
            rate *= shares.host_link.value
        return round(before + n / rate)

    def start_chunk(self, load: Load) -> None:
        n = self.chunk(load.waiting)
        load.waiting -= n
        behind = self.carried == self.now
        ns = self.chunk_ns(n, load.nbytes, behind, self.now < self.cpu_until)
        self.carrying = True

        def through() -> None:
            self.carrying, self.carried = False, self.now
            self.told.moved["host link", load.origin] += n
            load.arrived += n
            if load.arrived == load.nbytes:
                self.land(load)

        self.at(self.now + ns, LANDING, through)

    def read_bytes(self) -> int:
        return round(self.storage.read_mib.value * MIB)

    def read_ends(self, now: int, bus_free: int, n: int) -> tuple[int, int]:
        """When the bus is free again, and when the read is done."""
        disk = self.storage
        bus_free = max(now, bus_free) + round(n / disk.gb_s.value)
        alone = now + round(n / disk.stream_gb_s.value)
        return bus_free, max(bus_free, alone) + round(
            (disk.latency_us.value + self.inputs.runtime.load.read_us.value) * 1000
        )

    def start_read(self, load: Load) -> None:
        n = min(load.unread, self.read_bytes())
        load.unread -= n
        self.reading += 1
        self.bus_free, done = self.read_ends(self.now, self.bus_free, n)

        def through() -> None:
            self.reading -= 1
            self.told.moved["storage", load.origin] += n
            load.read += n
            if load.read == load.nbytes:
                load.off_storage = self.now
                if self.host is not None:
                    self.host.insert(load.expert)
            if self.link is not None:
                load.waiting += n
            elif load.read == load.nbytes:
                self.land(load)

        self.at(done, LANDING, through)

    def land(self, load: Load) -> None:
        x, load.landed = load.expert, self.now
        del self.underway[x]
        self.cache.insert(x)
        if self.host is not None:
            self.host.tell("used", x)
        if not load.demanded:
            self.arrives_early(load)
            if load.behind:
                self.settle(load, "arrived")
            else:
                self.unused[x] = load
            return
        self.cache.tell("used", x)
        self.settle(load, "late" if load.origin == 1 else "demanded")
        self.arrives(load)
