"""The loader brings experts in, on demand or ahead of need, and counts how each load ends.

The loader is the only writer of residency. Dispositions: see ``load``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from prefetch_sim.sim.engine.load import (
    ARRIVED,
    BEHIND,
    BEHIND_KEY,
    CANCELLED,
    DEMAND,
    DEMAND_KEY,
    DEMANDED,
    DISPOSITIONS,
    DROPPED,
    LATE,
    ORIGINS,
    PREFETCH,
    PREFETCH_KEY,
    PRIORITY,
    REDUNDANT,
    TIMELY,
    USELESS,
    Load,
)
from prefetch_sim.sim.engine.protocols import Stage
from prefetch_sim.sim.engine.records import LayerRecords, LoadRecords, StepRecords, Totals
from prefetch_sim.sim.engine.tier import Tier

_VOID = -1  # key of a load that has been abandoned


class Loader:
    """Sends loads from storage and host memory into the cache.

    ``stages`` are the servers of the load path, storage first. ``host`` is None where every
    expert is in host memory, or where there is no tier between storage and the cache: then there
    is one stage, else two. ``prefill`` [steps]: 0 or 1, whether a step is one.
    """

    def __init__(
        self, cache: Tier, host: Tier | None, records: LoadRecords, prefill: Sequence[int]
    ) -> None:
        self.cache, self.host, self.records = cache, host, records
        self._prefill = prefill
        self.stages: list[Stage] = []
        self.in_flight: dict[int, Load] = {}  # what is asked for and has not landed, by expert
        self.unused: list[Load | None] = [None] * len(cache.sizes)  # landed prefetches not used yet
        self.cpu_until = -1  # when the CPU is through with experts that it has been given
        # How prefetches ended: of decode steps, and of prefill.
        self.counts = [[0] * len(DISPOSITIONS) for _ in range(2)]
        self.proposed = 0
        self.moved_bytes: list[list[int]] = []  # [stage][origin]
        self.arrived: list[Load] = []  # demanded loads that landed since the engine last looked
        # Set while the engine waits: told of each landing, before loads start and after.
        self.on_landing: Callable[[int], None] | None = None
        self.on_served: Callable[[int], None] | None = None
        self.ahead: list[int] = []  # experts that landed before they were needed, to be booked
        self.waiting = 0  # demanded experts that have not landed
        self.queued: list[list[Load]] = [[] for _ in range(cache.layers)]  # prefetches, by layer
        self.cancels = True  # whether queued prefetches may be cancelled
        self.unpin_at = -1  # when the layer ends whose set is pinned; -1: not known, or past
        # Of a set that streams: when experts will have been computed, in order.
        self.computed: deque[tuple[int, Sequence[int]]] = deque()
        self._through_host: set[int] = set()  # experts whose loads pass through host memory
        # Those of them whose load is a prefetch that has not begun.
        self._only_queued: set[int] = set()
        self.changed = False  # a load was queued, landed or cancelled, or room was made
        self._seq = 0
        self._now = 0  # when room was last asked for
        cache.on_evict = self._evicted
        if host is not None:
            host.on_evict = self._left_host

    def connect(self, stages: Sequence[Stage]) -> None:
        self.stages = list(stages)
        self._from_storage = stages[0].name == "storage"
        self._last = len(stages) - 1
        self.moved_bytes = [[0] * len(ORIGINS) for _ in stages]

    @property
    def outstanding(self) -> int:
        """Bytes asked for and not landed."""
        return sum(load.size for load in self.in_flight.values())

    @property
    def moving(self) -> int:
        """Bytes of those loads that have begun."""
        return sum(load.size for load in self.in_flight.values() if load.started >= 0)

    # Demand

    def demand(self, routed: Sequence[int], now: int) -> tuple[int, int]:
        """Ask for a layer's routed set; returns (hits, loads that a prefetch had begun)."""
        resident, unused = self.cache.resident, self.unused
        missing = [x for x in routed if not resident[x]]
        hits = [x for x in routed if resident[x]] if missing else routed
        for x in hits:
            if unused[x] is not None:
                self._settle(unused[x], TIMELY, now)  # type: ignore[arg-type]
        self.cache.use(hits)
        if not missing:
            return len(hits), 0
        self.waiting = len(missing)
        late = 0
        in_flight, target = self.in_flight, self.cache.now
        for x in missing:
            load = in_flight.get(x)
            if load is None:
                self._issue(x, DEMAND, DEMAND_KEY, now, target, -1).needed = now
            else:
                late += load.origin == PREFETCH
                load.needed = now
                self._only_queued.discard(x)
                self._requeue(load, DEMAND_KEY)
        return len(hits), late

    def moves(self, experts: Iterable[int]) -> bool:
        """Whether a load of one of ``experts`` has begun and not landed."""
        loads = (self.in_flight.get(x) for x in experts)
        return any(load is not None and load.started >= 0 for load in loads)

    def demand_behind(self, experts: Iterable[int], now: int) -> None:
        """Queue a load behind for each of ``experts``, which the CPU computes, that has none."""
        target = self.cache.now
        for x in experts:
            if x not in self.in_flight:
                self._issue(x, BEHIND, BEHIND_KEY + target, now, target, -1)

    # Prefetch

    def propose(
        self,
        named: Sequence[int],
        priority: Sequence[int],
        now: int,
        target: int,
        predictor: int,
    ) -> None:
        """Queue ``named`` for layer-step ``target``, each at its ``priority``."""
        self.proposed += len(named)
        resident, in_flight = self.cache.resident, self.in_flight
        issued = 0
        for i, x in enumerate(named):
            if resident[x]:
                continue
            key = PREFETCH_KEY + priority[i] * PRIORITY + target
            load = in_flight.get(x)
            if load is None:
                load = self._issue(x, PREFETCH, key, now, target, predictor)
                if self.cancels:
                    self.queued[target % self.cache.layers].append(load)
                issued += 1
            elif load.started < 0 and key < load.key:
                self._requeue(load, key)
        self._ends(target)[REDUNDANT] += len(named) - issued

    def cancel(self, layer: int, keep: Collection[int], now: int) -> None:
        """Cancel the layer's queued prefetches of experts outside ``keep``."""
        still = []
        for load in self.queued[layer]:
            if load.started >= 0 or load.needed >= 0 or load.key == _VOID:
                continue
            if load.expert in keep:
                still.append(load)
            else:
                self._abandon(load, CANCELLED, now)
        self.queued[layer] = still

    def finish(self, now: int) -> None:
        """The run is over: whatever was not used is useless, whatever did not start cancelled."""
        for _, load in sorted(self.in_flight.items()):  # no demands: a layer waits for its own
            self._abandon(load, USELESS if load.started >= 0 else CANCELLED, now)
        for unused in self.unused:
            if unused is not None:
                self._settle(unused, USELESS, now)

    def totals(self, layers: LayerRecords, steps: StepRecords, bookkeeping: int) -> Totals:
        """What results need of a run that is over; ``bookkeeping``: see ``Totals``."""
        return Totals(
            layers.totals(steps.column("prefill"), self.cache.layers),
            bookkeeping,
            self.proposed,
            self.counts,
            self.records.landed,
            self.moved_bytes,
        )

    def serve(self, now: int) -> None:
        """Start what can start, if what happened at this instant may have made a difference."""
        if self.changed:
            self.changed = False
            for server in self.stages:
                if server.queue.waiting:
                    server.serve(now)

    # The path of one load

    def _issue(self, x: int, origin: int, key: int, now: int, target: int, predictor: int) -> Load:
        self._seq = seq = self._seq + 1
        size = self.cache.sizes[x]
        if self.host is None:
            first, ready, left = 0, [size], [size]
        else:
            first, ready, left = int(self.host.resident[x]), [0, 0], [size, size]
            ready[first] = size
            self._through_host.add(x)
            if origin != DEMAND:
                self._only_queued.add(x)
        load = Load(x, origin, key, seq, now, target, predictor, size, ready, left)
        self.in_flight[x] = load
        self.stages[first].queue.submit(load)
        self.changed = True
        return load

    def _requeue(self, load: Load, key: int) -> None:
        load.key = key
        self.changed = True
        for server, nbytes in zip(self.stages, load.ready):
            if nbytes:
                server.queue.submit(load)

    def start(self, load: Load, now: int) -> bool | None:
        """Make room for a load about to move, in every tier of its path (see ``TransferQueue``).

        Nothing leaves any tier unless there is room in all. True: it starts. False: it is dropped.
        None: it waits for room.
        """
        x, host, cache = load.expert, self.host, self.cache
        self._now = now
        if self.computed or 0 <= self.unpin_at <= now:
            self._unpin(now)
        staging = host if host is not None and not host.resident[x] else None
        if staging is not None:
            # A queued prefetch holds its expert there against other prefetches only.
            firm = load.needed >= 0
            staging.pinned = self._through_host - self._only_queued if firm else self._through_host
        if (staging is None or staging.can_hold(x)) and cache.reserve(x):
            if host is not None:
                self._only_queued.discard(x)
                if staging is not None:
                    staging.reserve(x)
            load.started = now
            return True
        if load.needed >= 0:
            return None
        self._abandon(load, DROPPED, now)
        return False

    def _unpin(self, now: int) -> None:
        """Whose pins have ended by ``now`` may leave. Once is enough."""
        if 0 <= self.unpin_at <= now:
            self.cache.pinned, self.unpin_at = (), -1
            self.computed.clear()
        elif self.computed[0][0] <= now:
            pinned = set(self.cache.pinned)
            while self.computed and self.computed[0][0] <= now:
                pinned.difference_update(self.computed.popleft()[1])
            self.cache.pinned = pinned

    def _left_host(self, x: int) -> None:
        """``x`` has left host memory: a prefetch that waits for it waits at storage."""
        load = self.in_flight.get(x)
        if load is not None:
            load.ready = [self.cache.sizes[x], 0]
            self.stages[0].queue.submit(load)

    def moved(self, load: Load, stage: int, nbytes: int, now: int) -> None:
        """``nbytes`` of ``load`` are through ``stage``."""
        self.moved_bytes[stage][load.origin] += nbytes
        load.left[stage] = left = load.left[stage] - nbytes
        if self._from_storage and stage == 0 and not left:
            load.storage_done = now
            if self.host is not None:
                self.host.insert(load.expert)
        if stage < self._last:
            load.ready[stage + 1] += nbytes
            self.stages[stage + 1].queue.submit(load)
        elif not left:
            self._land(load, now)
            if self.on_landing is not None:
                self.on_landing(now)
        self.changed = True
        self.serve(now)
        if self.on_served is not None:
            self.on_served(now)

    def _land(self, load: Load, now: int) -> None:
        x, needed = load.expert, load.needed >= 0
        load.landed = now
        self._release(x)
        self.cache.insert(x, needed)
        if self.host is not None:
            self.host.use((x,))
        if not needed:
            self.ahead.append(x)
            if load.origin == PREFETCH:
                self.unused[x] = load
            else:
                self.records.append(load, ARRIVED, now)
            return
        if load.origin != PREFETCH:
            self.records.append(load, DEMANDED, now)
        else:
            self._settle(load, LATE, now)
        self.waiting -= 1
        self.arrived.append(load)

    def _release(self, x: int) -> None:
        del self.in_flight[x]
        if self.host is not None:
            self._through_host.discard(x)
            self._only_queued.discard(x)

    # Ends

    def _abandon(self, load: Load, disposition: int, now: int) -> None:
        load.key = _VOID
        self._release(load.expert)
        if load.origin == PREFETCH:
            self._settle(load, disposition, now)
        else:
            self.records.append(load, disposition, now)
        self.changed = True

    def _evicted(self, x: int) -> None:
        load = self.unused[x]
        if load is not None:
            self._settle(load, USELESS, self._now)

    def _ends(self, target: int) -> list[int]:
        """How prefetches for steps of the phase of layer-step ``target`` ended."""
        return self.counts[self._prefill[target // self.cache.layers]]

    def _settle(self, prefetch: Load, disposition: int, now: int) -> None:
        self._ends(prefetch.target)[disposition] += 1
        self.unused[prefetch.expert] = None
        if disposition == TIMELY:
            prefetch.needed = now
        self.records.append(prefetch, disposition, now)
