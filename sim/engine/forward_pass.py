"""The forward pass is one generator over steps and layers, which yields the device's events.

Exact semantics: docs/timing.md. The device (``protocols``) answers with events; what is decided at
routing and at predictions is in ``decisions``.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from prefetch_sim.hardware_profiles import Overlap
from prefetch_sim.sim.cost.model import CostModel, StepCost
from prefetch_sim.sim.engine.active_predictor import ActivePredictor
from prefetch_sim.sim.engine.decisions import Decisions
from prefetch_sim.sim.engine.lead import alone, between
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.missing import STALLS, MissingLayer
from prefetch_sim.sim.engine.plan import Plan
from prefetch_sim.sim.engine.protocols import Device, Event
from prefetch_sim.sim.engine.records import PACK, LayerRecords, StepRecords
from prefetch_sim.sim.workload.step import Step
from prefetch_sim.sim.workload.workload import Workload

Events = Generator[Event, Any, None]
_NO_STALL = (0,) * STALLS


class ForwardPass:
    """Runs all the steps of one workload on one device."""

    def __init__(
        self,
        workload: Workload,
        cost: CostModel,
        device: Device,
        loader: Loader,
        predictors: Sequence[ActivePredictor],
        decisions: Decisions,
        plan: Plan | None,
        *,
        overlap: Overlap,
    ) -> None:
        self.workload, self.cost, self.device, self.loader = workload, cost, device, loader
        self.layer_records, self.step_records = LayerRecords(), StepRecords()
        self._decisions, self._plan, self._overlap = decisions, plan, overlap
        self._grouped = grouped = overlap != "per_expert"
        self._alone = alone(workload, cost, grouped)
        # What each takes where no load is queued or moves, and where one is.
        slower = cost.beside_loads or cost
        self._costs = cost, slower
        beside = self._alone if slower is cost else alone(workload, slower, grouped)
        self._works = self._alone, beside
        self._predictors = predictors
        self._at_start = [p for p in predictors if p.trigger == "layer_start"]
        self._at_gate = [p for p in predictors if p.trigger == "gate_input"]
        self._at_routed = [p for p in predictors if p.trigger == "routed"]
        self.bookkeeping_ns = 0
        self._gate_at = 0  # when the present layer is routed, later predictors inline apart

    def run(self) -> Events:
        """Every step in order; finishes the loader's accounts at the end.

        ``now`` is when what has been worked out so far ends, which may lie ahead of the clock:
        the pass waits only where something is decided: at a layer's routing, while it misses, and
        where it starts, if loads slow it down.
        """
        device, workload, loader = self.device, self.workload, self.loader
        tables = [self.layer_records, loader.records]
        add_numbers, add_times = self.layer_records.add_numbers, self.layer_records.add_times
        missing = MissingLayer(device, loader, self._work, overlap=self._overlap)
        plan, miss_ns = self._plan, self.cost.runtime.miss_ns
        in_flight, works, (one, other) = loader.in_flight, self._works, self._costs
        slows = one is not other
        now = layer_step = on_cpu = cpu_end = 0
        for step in workload.steps():
            plain = beside = cost = one.step(step.phase, step.tokens, step.contexts)
            if slows:
                beside = other.step(step.phase, step.tokens, step.contexts)
            begun, busy = now, device.busy_ns
            for predictor in self._predictors:
                predictor.begin(step)
            for layer in range(workload.layers):
                start = now
                if slows:
                    yield device.until(now)
                    cost = beside if in_flight else plain
                routed_at = self._begin(step, cost, plain, layer, start)
                yield device.until(routed_at)
                routed, tokens = workload.routed(step, layer)
                if plan is None:
                    hits, late = self._decisions.routed(
                        layer_step, routed, routed if tokens is None else set(routed), routed_at
                    )
                else:
                    on_cpu = len(routed)
                    routed, tokens, hits, late, cpu_end = self._split(
                        plan, step, layer_step, routed, tokens, routed_at
                    )
                    on_cpu -= len(routed)
                now = routed_at
                for predictor in self._at_routed:
                    now = self._fire(predictor, step, plain, layer, now, 0)
                stalls: Sequence[int] = _NO_STALL
                bookkeeping = self._booked_ahead() if loader.ahead else 0
                if loader.waiting:
                    bookkeeping += (len(routed) - hits) * miss_ns[layer]
                    costs = plain, beside
                    missing.begin(
                        layer, routed, tokens, costs, bookkeeping, cpu_end, routed_at, now
                    )
                    loader.serve(routed_at)
                    yield device.asleep()
                    now, stalls = missing.free, missing.stalls
                else:
                    cost = beside if in_flight else plain
                    work = cost.shared_ns + cost.moe_fixed_ns
                    if tokens is None:
                        work += works[bool(in_flight)][layer][len(routed)]
                    else:
                        work += self._work(layer, routed, routed, tokens, bool(in_flight))
                    now = device.compute(now, work, "experts")
                    if cpu_end > now:
                        stalls = (0, 0, 0, 0, cpu_end - now)
                        now = cpu_end
                    if bookkeeping:
                        now = device.compute(now, bookkeeping, "bookkeeping")
                    loader.unpin_at = now
                    loader.serve(routed_at)
                if bookkeeping:
                    self.bookkeeping_ns += bookkeeping
                layer_step += 1
                add_numbers((step.number, layer, len(routed) + on_cpu, hits, late, on_cpu))
                add_times((start, routed_at, now, *stalls))
            cost = plain
            if slows:
                yield device.until(now)
                cost = beside if in_flight else plain
            now = device.compute(now, cost.epilogue_ns, "head")
            records = self.step_records
            records.add_numbers((step.number, step.prefill, len(step.requests), len(step.rows)))
            records.add_times((begun, now, device.busy_ns - busy))
            for table in tables:
                table.pack(PACK)
        yield device.until(now)
        loader.finish(now)

    def _booked_ahead(self) -> int:
        """ns of bookkeeping for what has landed before it was needed."""
        ahead, width, ns = self.loader.ahead, self.loader.cache.width, self.cost.runtime.miss_ns
        total = sum([ns[x // width] for x in ahead])
        ahead.clear()
        return total

    def _split(
        self,
        plan: Plan,
        step: Step,
        layer_step: int,
        routed: list[int],
        tokens: list[int] | None,
        now: int,
    ) -> tuple[list[int], list[int] | None, int, int, int]:
        """Share out the routed set; what is not the CPU's is routed.

        Returns those experts, the tokens that they serve, (hits, late), and when the CPU ends.
        """
        layer, everybody = layer_step % self.workload.layers, len(step.rows)
        served = [1] * len(routed) if tokens is None else tokens
        on_cpu = plan.on_cpu(layer, routed, served, everybody)
        if on_cpu:
            here = [(x, n) for x, n in zip(routed, served) if x not in on_cpu]
            routed = [x for x, _ in here]
            tokens = None if tokens is None else [n for _, n in here]
        hits, late = self._decisions.routed(layer_step, routed, set(routed), now, on_cpu)
        end = 0
        if on_cpu:
            duration = plan.group_ns(layer, list(on_cpu.values()), everybody)
            end = self.loader.cpu_until = self.device.on_cpu(now, duration)
        return routed, tokens, hits, late, end

    def _begin(self, step: Step, cost: StepCost, plain: StepCost, layer: int, now: int) -> int:
        """A layer starts at ``now``: what happens until it is routed; returns when that is.

        It takes ``cost``; ``plain`` is the step's where no load is queued or moves.
        """
        device = self.device
        before = cost.prologue_ns[layer]
        attention = before + cost.attention_ns[layer]
        self._gate_at = now + attention + cost.gate_ns
        for predictor in self._at_start:  # its input is there once the norm is through
            now = self._fire(predictor, step, plain, layer, now, before + cost.norm_ns)
        if not self._at_gate:
            return device.compute(now, attention + cost.gate_ns, "attention")
        now = device.compute(now, attention, "attention")
        for predictor in self._at_gate:
            now = self._fire(predictor, step, plain, layer, now, 0)
        return device.compute(now, cost.gate_ns, "gate")

    def _work(
        self,
        layer: int,
        experts: Sequence[int],
        routed: list[int],
        tokens: list[int] | None,
        beside: bool,
    ) -> int:
        """ns to compute ``experts``, launched one by one, or once for the group.

        ``beside``: while a load is queued or moves.
        """
        if tokens is None:
            return self._works[beside][layer][len(experts)]
        if not experts:
            return 0
        launch = self.cost.expert_launch_ns
        expert_ns = self._costs[beside].expert_ns
        served = dict(zip(routed, tokens))
        launches = launch if self._grouped else launch * len(experts)
        return launches + sum([expert_ns(layer, served[x]) for x in experts])

    # Prediction

    def _fire(
        self,
        predictor: ActivePredictor,
        step: Step,
        cost: StepCost,
        layer: int,
        now: int,
        read: int,
    ) -> int:
        """Let a predictor predict at ``now`` from what is there ``read`` ns later.

        ``cost``: of the step where no load is queued or moves.
        Returns when the compute engine goes on: later than ``now`` if the predictor is inline.
        """
        layers, device = self.workload.layers, self.device
        target = layer + predictor.distance
        if target >= layers:
            return now
        prediction = predictor.prediction(target)
        if prediction is None:
            return now
        delay = predictor.delay
        if predictor.inline:
            self._gate_at += delay
        lead = self._lead(cost, layer, target) if self._decisions.timed else 0
        if predictor.inline:
            out = now + read + delay
            now = device.compute(now, delay, "predictor")
        else:
            out = device.beside(now + read, delay)
        index = step.number * layers + target
        device.call(out, self._act, (out, predictor, index, prediction, len(step.rows), lead))
        return now

    def _act(self, event: Event) -> None:
        """A prediction is out."""
        now, predictor, layer_step, (ids, scores), tokens, lead = event.value
        self._decisions.predicted(layer_step, predictor.index, ids, scores, tokens, lead - now, now)
        self.loader.serve(now)

    def _lead(self, cost: StepCost, layer: int, target: int) -> int:
        """When ``target`` is expected to be routed, if nothing until then stalls."""
        return self._gate_at + between(cost, self._alone, layer, target)
