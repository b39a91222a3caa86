"""The forward pass on a real device: the decisions are the simulation's, the time is the wall's.

All of it runs on one thread. It asks the device's compute engine for one part of a layer after
the other, looks at what lands meanwhile, and waits only where something has to be decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from prefetch_sim.hardware_profiles import Overlap
from prefetch_sim.sim.cost.model import CostModel, StepCost
from prefetch_sim.sim.engine.active_predictor import ActivePredictor, Prediction
from prefetch_sim.sim.engine.decisions import Decisions
from prefetch_sim.sim.engine.lead import alone, between
from prefetch_sim.sim.engine.load import Load
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.missing import STALLS, split_stall
from prefetch_sim.sim.engine.records import LayerRecords, StepRecords
from prefetch_sim.sim.replay.device import Mark, RealDevice, Work
from prefetch_sim.sim.replay.products import Matrices, Products
from prefetch_sim.sim.replay.slots import Slots
from prefetch_sim.sim.workload.step import Step
from prefetch_sim.sim.workload.workload import Workload

Expected = tuple[StepCost, StepCost]  # of a step: alone, and beside loads


class _Layer:
    """What one layer-step has asked the compute engine for."""

    def __init__(self, number: int, layer: int) -> None:
        self.number, self.layer = number, layer  # number: of the layer-step
        self.jobs: list[tuple[Mark, Sequence[Load]]] = []  # in order, with what each waited for
        self.routed: list[int] = []
        self.routed_at = self.hits = self.late = 0
        self.beside = False  # it started while a load was queued or moved
        self.streams = False  # its set is larger than the cache
        self.computes = False  # a group of a set that streams is at work
        self.shared: Work | None = None  # of shared experts that wait for the first group


class ReplayPass:
    """Runs all the steps of one workload on a real device."""

    def __init__(
        self,
        workload: Workload,
        products: Products,
        device: RealDevice,
        loader: Loader,
        slots: Slots,
        predictors: Sequence[ActivePredictor],
        decisions: Decisions,
        cost: CostModel,
        *,
        overlap: Overlap,
    ) -> None:
        """``cost``: what the policies are told to expect."""
        self.layer_records, self.step_records = LayerRecords(), StepRecords()
        self.own_ns = 0  # in which it neither computed nor waited for experts
        self._workload, self._products, self._device = workload, products, device
        self._loader, self._slots, self._decisions = loader, slots, decisions
        self._predictors, self._grouped = predictors, overlap != "per_expert"
        self._shared_waits = overlap == "none"
        self._costs = cost, cost.beside_loads or cost  # as a layer starts: alone, beside loads
        self._predict = products.predict
        self._alone = alone(workload, cost, self._grouped)
        # [predictor][layer that it speaks of]
        self._networks = [
            [products.network(p.nbytes) for _ in range(workload.layers)] if p.nbytes else None
            for p in predictors
        ]
        # Of the present step: until when the compute engine is accounted for, how long it worked.
        self._free = self._busy = 0
        self._stalls = [0] * STALLS

    @property
    def networks(self) -> list[Matrices]:
        """One of each predictor that has any."""
        return [of[0] for of in self._networks if of]

    def run(self) -> None:
        """Every step in order."""
        device, products, workload = self._device, self._products, self._workload
        cost, beside = self._costs
        end = 0
        for step in workload.steps():
            begun = end  # what lies between two steps is the engine's own work
            self._free, self._busy, self._stalls = begun, 0, [0] * STALLS
            which = step.phase, step.tokens, step.contexts
            usual = slowed = cost.step(*which)
            if beside is not cost:
                slowed = beside.step(*which)
            expected = usual, slowed
            for predictor in self._predictors:
                predictor.begin(step)
            for layer in range(workload.layers):
                self._run_layer(step, expected, layer)
            head = device.compute("head", products.head)
            device.until(head)
            products.end()
            end = head.end
            busy = self._busy + head.end - head.start
            waited = sum(self._stalls)
            self.own_ns += end - begun - waited - busy
            records = self.step_records
            records.add_numbers((step.number, step.prefill, len(step.requests), len(step.rows)))
            records.add_times((begun, end, end - begun - waited))
        self._loader.finish(device.now)

    # One layer

    def _run_layer(self, step: Step, expected: Expected, layer: int) -> None:
        device = self._device
        here = _Layer(step.number * self._workload.layers + layer, layer)
        here.beside = bool(self._loader.in_flight)
        routed = self._begin(here, step, expected)
        device.until(routed)
        here.routed, tokens = self._workload.routed(step, layer)
        now = here.routed_at = device.now
        pinned = here.routed if tokens is None else set(here.routed)
        here.hits, here.late = self._decisions.routed(here.number, here.routed, pinned, now)
        self._loader.serve(now)  # loads start first: what follows takes time to ask for
        self._fire("routed", here, step, expected, routed)
        self._compute(here)
        end = self._ask(here, "combine", partial(self._products.combine, layer))
        end.then = partial(self._ended, here)

    def _begin(self, here: _Layer, step: Step, expected: Expected) -> Mark:
        """Ask for what happens until the layer is routed; returns what is through then.

        What no predictor looks at in between is asked for together.
        """
        products, layer = self._products, here.layer
        parts: list[tuple[str, Work]] = [
            ("layer_start", products.norm),
            ("gate_input", partial(products.attention, layer)),
        ]
        works: list[Work] = [] if layer else [partial(products.begin, step)]
        if products.dense_before(layer):
            works.append(partial(products.dense, layer))
        for trigger, work in parts:
            works.append(work)
            if any(predictor.trigger == trigger for predictor in self._predictors):
                mark = self._ask(here, "attention", partial(_each, works))
                works = []
                self._fire(trigger, here, step, expected, mark)
        works.append(partial(products.gate, layer))
        return self._ask(here, "attention and gate", partial(_each, works))

    def _compute(self, here: _Layer) -> None:
        """The layer is routed: compute what is here, and the rest as it lands."""
        loader = self._loader
        resident = loader.cache.resident
        here.streams = bool(loader.waiting) and not loader.cache.fits(here.routed)
        shared = partial(self._products.shared, here.layer, here.routed)
        ready = [x for x in here.routed if resident[x]]
        if not ready or here.streams or (self._grouped and loader.waiting):
            if self._shared_waits and loader.waiting:
                here.shared = shared
            else:
                self._ask(here, "shared experts", shared)
            if here.streams:
                self._experts(here, ready, ())
        else:
            works = [shared, partial(self._products_of, self._weights(ready))]
            self._ask(here, "experts", partial(_each, works))
        if loader.waiting:
            loader.on_landing = partial(self._landed, here)
            if here.streams and self._grouped:
                loader.on_served = partial(self._served, here)
            while loader.waiting:
                self._device.next()
            loader.on_landing = loader.on_served = None

    def _landed(self, here: _Layer, _: int) -> None:
        """Something has landed. A group closes when loads have started, or when all is here."""
        loader = self._loader
        if loader.waiting and self._grouped:
            return
        loads = self._arrived()
        if not self._grouped:
            for load in loads:
                self._experts(here, [load.expert], [load])
        else:
            group = [load.expert for load in loads] if here.streams else here.routed
            self._experts(here, group, loads)

    def _arrived(self) -> list[Load]:
        """What has landed since this was asked last."""
        loads = list(self._loader.arrived)
        self._loader.arrived.clear()
        return loads

    def _served(self, here: _Layer, _: int) -> None:
        """Loads have started: does a group of a set that streams close?"""
        loader = self._loader
        if loader.arrived and not here.computes and not loader.moves(here.routed):
            loads = self._arrived()
            self._experts(here, [load.expert for load in loads], loads)

    def _experts(self, here: _Layer, experts: Sequence[int], loads: Sequence[Load]) -> None:
        """Ask for ``experts``, which are here, as ``loads`` have landed."""
        if not here.streams:
            if experts:
                self._ask(here, "experts", self._group(here, experts), loads)
            return
        for group in [experts] if self._grouped else [[x] for x in experts]:
            if group:
                here.computes = True
                work = self._group(here, group)
                self._ask(here, "experts", work, loads).then = partial(self._computed, here, group)

    def _group(self, here: _Layer, experts: Sequence[int]) -> Work:
        """The products of ``experts``, with the shared ones where those have waited."""
        works: list[Work] = [partial(self._products_of, self._weights(experts))]
        if here.shared is not None:
            works.insert(0, here.shared)
            here.shared = None
        return partial(_each, works) if len(works) > 1 else works[0]

    def _weights(self, experts: Sequence[int]) -> list[tuple[int, Matrices]]:
        return [(x, self._slots.matrices(x)) for x in experts]

    def _products_of(self, experts: Sequence[tuple[int, Matrices]]) -> None:
        for x, matrices in experts:
            self._products.expert(x, matrices)

    def _computed(self, here: _Layer, experts: Sequence[int], now: int) -> None:
        """Some of a set that streams has been computed, and makes room."""
        here.computes = False
        loader = self._loader
        loader.computed.append((now, experts))
        loader.changed = True
        loader.serve(now)
        if loader.on_served is not None:
            loader.on_served(now)

    def _ended(self, here: _Layer, now: int) -> None:
        """The layer is through: its set is unpinned, its time is shared out."""
        self._loader.unpin_at = now
        stalls, free = [0] * STALLS, self._free
        for mark, loads in here.jobs:
            for load in loads:
                if load.landed > free:
                    split_stall(load, free, stalls)
                    free = load.landed
            self._busy += mark.end - mark.start
            free = mark.end
        self._free = free
        self._stalls = [a + b for a, b in zip(self._stalls, stalls)]
        step, layer = divmod(here.number, self._workload.layers)
        begun = here.jobs[0][0].start
        self.layer_records.add_numbers((step, layer, len(here.routed), here.hits, here.late, 0))
        self.layer_records.add_times((begun, here.routed_at, free, *stalls))

    def _ask(self, here: _Layer, what: str, work: Work, loads: Sequence[Load] = ()) -> Mark:
        mark = self._device.compute(what, work)
        here.jobs.append((mark, loads))
        return mark

    # Prediction

    def _fire(
        self, trigger: str, here: _Layer, step: Step, expected: Expected, after: Mark
    ) -> None:
        """Let the predictors of ``trigger`` predict, one after the other, from ``after`` on."""
        present = expected[here.beside]
        ahead = {
            "layer_start": present.attention_ns[here.layer] - present.norm_ns + present.gate_ns,
            "gate_input": present.gate_ns,
            "routed": 0,
        }[trigger]
        for predictor, networks in zip(self._predictors, self._networks):
            target = here.layer + predictor.distance
            if predictor.trigger != trigger or target >= self._workload.layers:
                continue
            prediction = predictor.prediction(target)
            if prediction is None:
                continue
            if predictor.inline and networks is not None:
                after = self._ask(here, "predictor", partial(self._predict, networks[target]))
            lead = 0
            if self._decisions.timed:
                lead = ahead + between(expected[0], self._alone, here.layer, target)
            said = partial(
                self._said, predictor.index, here.number + predictor.distance, prediction,
                len(step.rows), after, lead,
            )  # fmt: skip
            if networks is None:
                self._after(after, said)
            elif predictor.inline:
                after.then = said
            else:
                work = partial(self._predict, networks[target])
                self._device.beside("predictor", work, said, after)

    def _after(self, mark: Mark, act: Callable[[int], None]) -> None:
        if mark.seen:
            act(self._device.now)
        else:
            mark.also.append(lambda: act(self._device.now))

    def _said(
        self,
        predictor: int,
        layer_step: int,
        prediction: Prediction,
        tokens: int,
        fired: Mark,
        lead: int,
        now: int,
    ) -> None:
        """A prediction is out; ``lead``: ns from ``fired`` until its layer is to be routed."""
        ids, scores = prediction
        self._decisions.predicted(
            layer_step, predictor, ids, scores, tokens, fired.end + lead - now, now
        )
        self._loader.serve(now)


def _each(works: Sequence[Work]) -> None:
    for work in works:
        work()
