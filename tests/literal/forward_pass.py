"""The forward pass: compute and side engine, pins, predictions."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from literal.transfers import FIRST, PASS, PREDICTION, Load, Reading, Transfers
from prefetch_sim.sim.misses.base import ABSENT, MOVES, WAITS, Layer
from prefetch_sim.sim.prefetch.base import Limits
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.workload.step import Step


@dataclass(eq=False)
class RoutedSet:
    tokens: dict[int, int]  # of each expert, in the order of the set
    streams: bool
    residents: list[int] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)
    landed: list[Load] = field(default_factory=list)  # and not computed yet
    computed: dict[int, int] = field(default_factory=dict)  # when each has been or will be
    through: int = -1  # until when the group before computes, if there is one
    end: int = -1  # of the layer, once it is known


class ForwardPass(Transfers):
    """One run."""

    def __init__(self, inputs: Inputs, cost: Any) -> None:
        super().__init__(inputs)
        self.cost = cost
        self.tables = [predictor.table() for _, predictor, _ in inputs.predictors]
        self.grouped = self.inputs.runtime.overlap in ("grouped", "none")
        self.nothing_meanwhile = self.inputs.runtime.overlap == "none"
        self.free = self.busy = self.side_free = 0  # the compute engine; the side engine
        self.waiting = self.over = False
        self.latest = -1  # the layer-step routed last
        self.set = RoutedSet({}, False, end=0)
        self.on_cpu: dict[int, int] = {}  # of the set's layer, and the tokens of each
        self.slows = cost.beside_loads is not None
        self.step_now: Any = None  # its phase, tokens and contexts
        self.bookkeeping = self.ahead = 0
        self.stalls = [0] * 5
        self.marks, self.stamp = [0] * len(self.sizes), 0

    def run(self) -> Reading:
        self.going = self.forward()
        self.at(0, PASS, self.go_on)
        while not self.over:
            self.now, _, _, what = heapq.heappop(self.events)
            what()
            self.start_loads()
            self.close_group()
        for load in self.unused.values():
            self.settle(load, "useless")
        for load in self.underway.values():
            self.settle(load, "useless" if load.moves else "cancelled")
        return self.told

    def go_on(self) -> None:
        """The pass does, until it computes or waits."""
        delay = next(self.going, None)
        self.waiting = delay is None
        if delay is not None:
            self.at(self.now + delay, PASS, self.go_on)

    def turn(self) -> None:
        """Something has landed or has been computed."""
        if self.waiting:
            self.go_on()

    # The pass yields how long it computes, and None while it waits for a landing.

    def work(self, ns: int) -> int:
        self.free = max(self.free, self.now) + ns
        self.busy += ns
        return ns

    def slower(self) -> Any:
        """The durations of what is about to compute: beside loads, or not."""
        return self.cost.beside_loads if self.slows and self.underway else self.cost

    def forward(self) -> Iterator[int | None]:
        for step in self.workload.steps():
            began, self.busy = self.now, 0
            which = step.phase, step.tokens, step.contexts
            usual = self.cost.step(*which)
            for layer in range(self.workload.layers):
                if self.slows:
                    yield 0
                start, costs = self.now, self.slower().step(*which)
                yield self.work(costs.prologue_ns[layer])
                yield self.work(costs.norm_ns)
                yield from self.fire("layer_start", step, layer, costs, usual)
                yield self.work(costs.attention_ns[layer] - costs.norm_ns)
                yield from self.fire("gate_input", step, layer, costs, usual)
                yield self.work(costs.gate_ns)
                routed, (hits, late) = self.now, self.route(step, layer)
                for _ in self.fire("routed", step, layer, costs, usual):
                    pass  # the pass takes no turn: what follows is arithmetic
                self.step_now = which
                costs = self.slower().step(*which)
                if not self.nothing_meanwhile:
                    self.work(costs.shared_ns)
                self.work(0 if self.grouped else costs.moe_fixed_ns)
                self.compute_residents()
                self.compute_landed()
                while self.set.end < 0:
                    yield None
                if self.set.end > self.now:
                    yield self.set.end - self.now
                counted = len(self.set.tokens) + len(self.on_cpu), hits, late, len(self.on_cpu)
                self.told.layers.append(
                    (step.number, layer, *counted, start, routed, self.now, *self.stalls)
                )
            if self.slows:
                yield 0
            yield self.work(self.slower().step(*which).epilogue_ns)
            who = step.number, int(step.prefill), len(step.requests), len(step.rows)
            self.told.steps.append((*who, began, self.now, self.busy))
        self.over = True

    def route(self, step: Step, layer: int) -> tuple[int, int]:
        """Hits and late ones."""
        now = self.latest = step.number * self.workload.layers + layer
        self.cache.now = now
        if self.host is not None:
            self.host.now = now
        ids, counts = self.workload.routed(step, layer)
        tokens = dict(zip(ids, counts or [1] * len(ids)))
        if self.config.prefetch.cancel_stale:
            self.cancel(layer, set(tokens))
        everybody, self.on_cpu = len(step.rows), self.left_to_cpu(layer, tokens, len(step.rows))
        ids = [x for x in ids if x not in self.on_cpu]
        room = self.cache.room(0 if len(self.cache.capacities) == 1 else layer)
        comes_and_goes = sum(self.sizes[x] for x in ids if x not in self.cache.static)
        self.set = RoutedSet({x: tokens[x] for x in ids}, comes_and_goes > room)
        self.stalls = [0] * 5
        self.bookkeeping, self.ahead = self.ahead, 0
        late = 0
        for x in ids:
            if self.cache.holds(x):
                self.set.residents.append(x)
                self.cache.tell("used", x)
                if x in self.unused:
                    self.unused[x].needed = self.now
                    self.settle(self.unused.pop(x), "timely")
                continue
            self.set.missing.add(x)
            self.bookkeeping += self.cost.runtime.miss_ns[layer]
            if x not in self.underway:
                self.queue(x, -1, now, FIRST)
            elif not self.underway[x].behind:
                late += 1
            load = self.underway[x]
            load.demanded, load.order, load.needed = True, FIRST, self.now
        for x in self.on_cpu:
            if self.host is not None:
                self.host.tell("used", x)
            if self.config.misses.then == "load" and x not in self.underway:
                self.queue(x, -1, now, (2, now), behind=True)
        if self.on_cpu:
            busy = any(load.moves or load.demanded for load in self.underway.values())
            ns = [self.cost.cpu.expert_ns(layer, n, busy) for n in self.on_cpu.values()]
            self.cpu_until = self.now + self.cost.cpu.fixed_ns(everybody) + sum(ns)
        width = self.workload.experts
        for x in range(layer * width, (layer + 1) * width):
            if x in self.cache.scores and x not in tokens:
                self.cache.tell("not_routed", x)
        return len(self.set.residents), late

    def left_to_cpu(self, layer: int, tokens: dict[int, int], everybody: int) -> dict[int, int]:
        """The missing experts that the plan leaves to the CPU, and the tokens of each."""
        if self.config.misses.policy == "load":
            return {}
        possible = [
            x
            for x in tokens
            if not self.cache.holds(x) and (self.host is None or self.host.holds(x))
        ]
        if not possible:
            return {}
        if self.inputs.sizes[layer] > self.cache.room(self.cache.partition(possible[0])):
            return {x: tokens[x] for x in possible}
        state = [
            (MOVES if self.underway[x].moves else WAITS) if x in self.underway else ABSENT
            for x in possible
        ]
        moving = sum(load.nbytes for load in self.underway.values() if load.moves)
        told = Layer(
            everybody,
            self.config.misses.up_to,
            self.one(layer),
            round(moving / self.link.gb_s.value),
            self.cost.cpu.fixed_ns(everybody),
        )
        ns = [self.cost.cpu.expert_ns(layer, tokens[x], False) for x in possible]
        chosen = [0] * len(possible)
        self.inputs.misses.plan(len(possible), ns, state, told, chosen)
        return {x: tokens[x] for x, left in zip(possible, chosen) if left}

    def pinned(self, x: int) -> bool:
        """A pin ends by time."""
        routed = self.set
        ended = 0 <= routed.end <= self.now
        streamed = routed.streams and routed.computed.get(x, self.now + 1) <= self.now
        return x in routed.tokens and not ended and not streamed

    def arrives_early(self, load: Load) -> None:
        self.ahead += self.cost.runtime.miss_ns[load.expert // self.workload.experts]

    def arrives(self, load: Load) -> None:
        self.set.missing.remove(load.expert)
        self.set.landed.append(load)
        self.compute_landed()
        self.at(self.now, PASS, self.turn)

    # Routed experts

    def compute_residents(self) -> None:
        there = self.set.residents
        if not self.grouped:
            for x in there:
                self.compute([x])
        elif not self.set.tokens:
            self.work(self.with_group())
        elif self.set.streams and there:
            self.compute(there)
        self.ended()

    def compute_landed(self) -> None:
        """Those that the pass waits no longer for."""
        routed = self.set
        if not self.grouped:
            for load in routed.landed:
                self.wait_for(load)
                self.compute([load.expert])
            routed.landed.clear()
        elif not routed.missing and len(routed.computed) < len(routed.tokens):
            self.compute_group(routed.landed)
            routed.landed = []
        self.ended()

    def close_group(self) -> None:
        """Of a set that streams, loads having started."""
        routed = self.set
        if not (self.grouped and routed.streams and routed.landed and routed.through <= self.now):
            return
        if any(load.moves and x in routed.missing for x, load in self.underway.items()):
            return
        group, routed.landed = routed.landed, []
        self.compute_group(group)

    def compute_group(self, landed: list[Load]) -> None:
        for load in landed:
            self.wait_for(load)
        whole = [] if self.set.streams else self.set.residents
        self.compute([*whole, *(load.expert for load in landed)])

    def compute(self, experts: list[int]) -> None:
        routed = self.set
        layer, cost = self.latest % self.workload.layers, self.slower()
        alone = sum(cost.expert_ns(layer, routed.tokens[x]) for x in experts)
        permuting = self.with_group() if self.grouped and not routed.computed else 0
        self.work(permuting + self.cost.expert_launch_ns + alone)
        routed.computed.update(dict.fromkeys(experts, self.free))
        routed.through = self.free
        if routed.missing:
            self.at(self.free, PASS, self.turn)

    def with_group(self) -> int:
        costs = self.slower().step(*self.step_now)
        ns: int = costs.moe_fixed_ns + (costs.shared_ns if self.nothing_meanwhile else 0)
        return ns

    def ended(self) -> None:
        routed = self.set
        if len(routed.computed) == len(routed.tokens) and routed.end < 0:
            if self.on_cpu and self.cpu_until > self.free:
                self.stalls[4] += self.cpu_until - self.free
                self.free = self.cpu_until
            self.work(self.bookkeeping)
            routed.end = max(self.free, self.now)

    def wait_for(self, load: Load) -> None:
        """A stall ends with the landing of ``load``, if the compute engine is through before."""
        if load.landed <= self.free:
            return
        split = load.off_storage if load.off_storage >= 0 else load.started
        split = min(max(self.free, split), load.landed)
        self.stalls[3 if load.off_storage >= 0 else 2] += split - self.free
        self.stalls[int(load.origin == 1)] += load.landed - split
        self.free = load.landed

    # Predictions

    def fire(self, trigger: str, step: Step, layer: int, costs: Any, usual: Any) -> Iterator[int]:
        for i, (_, predictor, params) in enumerate(self.inputs.predictors):
            target, table = layer + predictor.distance, self.tables[i]
            if predictor.trigger != trigger or target >= self.workload.layers:
                continue
            rows = list(step.rows)
            ids, scores = table.ids[rows, target], table.scores[rows, target]
            if (ids[:, 0] < 0).all():
                continue
            if params.cost_us is not None:
                ns = round(params.cost_us * 1000)
            elif predictor.cost == (0, 0):
                ns = 0
            else:
                ns = self.cost.predictor_ns(*predictor.cost, len(rows))
            inline = params.placement == "inline"
            now = max(self.free, self.now)
            routed_at = now + ns * inline + self.until_routed(trigger, layer, target, costs, usual)
            said = i, step.number * self.workload.layers + target, ids, scores, routed_at

            def comes_out(said: Any = said) -> None:
                self.comes_out(*said)

            if inline:
                self.work(ns)
                self.at(self.free, PREDICTION, comes_out)
                yield ns
            else:
                self.side_free = max(self.side_free, now) + ns
                self.at(self.side_free, PREDICTION, comes_out)

    def until_routed(self, trigger: str, layer: int, target: int, costs: Any, usual: Any) -> int:
        """If nothing stalls, and each layer between computes k experts of one token.

        The present layer takes ``costs``, those to come ``usual``.
        """
        attention = costs.attention_ns[layer] - costs.norm_ns
        ns = {"layer_start": attention + costs.gate_ns, "gate_input": costs.gate_ns, "routed": 0}
        total: int = ns[trigger]
        k = self.workload.top_k
        for between in range(layer, target):
            launches = 1 if self.grouped else k
            total += usual.shared_ns + usual.moe_fixed_ns
            total += launches * self.cost.expert_launch_ns + k * self.cost.expert_ns(between, 1)
            total += usual.prologue_ns[between + 1] + usual.attention_ns[between + 1]
            total += usual.gate_ns
        return total

    def comes_out(self, i: int, target: int, ids: Any, scores: Any, routed_at: int) -> None:
        if target <= self.latest:
            return
        prefetch, layer = self.config.prefetch, target % self.workload.layers
        if prefetch.cancel_stale and len(self.tables) > 1:
            self.cancel(layer, set(ids.ravel().tolist()))
        limits = Limits(self.workload.top_k, prefetch.extra, prefetch.threshold)
        if getattr(self.inputs.policy, "TIMED", False):
            limits = limits._replace(
                lead_ns=routed_at - self.now, backlog_ns=self.backlog(), load_ns=self.one(layer)
            )
        self.stamp += 1
        resident = [self.cache.holds(x) for x in range(len(self.sizes))]
        out, priority = [0] * self.workload.experts, [0] * self.workload.experts
        n = self.inputs.policy.propose(
            ids.ravel().tolist(), scores.ravel().tolist(), len(ids), limits,
            resident, self.marks, self.stamp, out, priority,
        )  # fmt: skip
        self.told.proposed += n
        for x, later in zip(out[:n], priority[:n]):
            order = (1, later, target)
            if not self.cache.holds(x) and x not in self.underway:
                self.queue(x, i, target, order)
                continue
            self.counts_end(target, "redundant")
            if x in self.underway and not self.underway[x].moves:
                load = self.underway[x]
                load.order = min(load.order, order)
        for x in out[:n]:
            if self.cache.holds(x):
                self.cache.tell("predicted", x)

    def backlog(self) -> int:
        """The bytes asked for that have not landed, whole loads, at the last link's full rate."""
        last = self.storage if self.link is None else self.link
        return round(sum(load.nbytes for load in self.underway.values()) / last.gb_s.value)

    def one(self, layer: int) -> int:
        """One load of the layer."""
        left = self.inputs.sizes[layer]
        if self.link is not None:
            ns = 0
            while left > 0:
                n = min(left, self.chunk(left))
                ns += self.chunk_ns(n, self.inputs.sizes[layer], True)
                left -= n
            return ns
        lanes = [0] * int(self.storage.queue_depth.value)  # when each is free
        bus, done = 0, 0
        while left > 0:
            now = lanes.pop(lanes.index(min(lanes)))
            n = min(left, self.read_bytes())
            bus, ends = self.read_ends(now, bus, n)
            lanes.append(ends)
            done = max(done, ends)
            left -= n
        return done
