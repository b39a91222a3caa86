"""The pass of a replay on a device whose engines take the durations of the cost model, exactly.

Real engines take what they take, so a replay can be compared with a simulation in what it decides
only. Here its own pass, lanes and accounts run on virtual time: a fourth reading of docs/timing.md,
which must agree with the others to the nanosecond.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import partial
from typing import Any

from prefetch_sim.sim.cost.transfers import HostLink, Stage
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.records import LoadRecords
from prefetch_sim.sim.engine.transfer_queue import TransferQueue
from prefetch_sim.sim.replay.device import Mark, RealDevice, Work
from prefetch_sim.sim.replay.forward_pass import ReplayPass
from prefetch_sim.sim.replay.lanes import Lanes, Piece
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.parts import active_predictors, decisions, load_path
from prefetch_sim.sim.setup.tiers import make_cache, make_host
from prefetch_sim.sim.workload.step import Step

LANDS, PREDICTS, PASSES = range(3)  # in their order at one instant


class World:
    """Virtual time, and what is under way."""

    def __init__(self) -> None:
        self.now = self.took = 0  # took: ns, by the work that is being done
        self.first = True  # no expert of that work has been computed yet
        self._under_way: list[tuple[int, int, int, Mark]] = []
        self._count = 0

    def put(self, mark: Mark, kind: int) -> None:
        self._count += 1
        heapq.heappush(self._under_way, (mark.end, kind, self._count, mark))

    def wait(self) -> Mark:
        self.now, _, _, mark = heapq.heappop(self._under_way)
        return mark


class VirtualEngine:
    """Does its work in order, each as long as it says that it takes."""

    def __init__(self, world: World, kind: int) -> None:
        self._world, self._kind, self._free = world, kind, 0

    def put(self, work: Work, mark: Mark, after: Sequence[Mark] = ()) -> None:
        world = self._world
        world.took, world.first = 0, True
        work()
        mark.start = max(world.now, self._free, *(before.end for before in after))
        mark.end = self._free = mark.start + world.took
        world.put(mark, PREDICTS if mark.what == "predictor" else self._kind)

    def close(self) -> None:
        """Nothing to end."""


class Durations:
    """Stands for ``Products``: takes time and computes nothing."""

    def __init__(self, inputs: Inputs, cost: Any, world: World, loader: Loader) -> None:
        self._workload, self._cost, self._world, self._loader = inputs.workload, cost, world, loader
        self._grouped = inputs.runtime.overlap != "per_expert"
        self._dispatch = 0

    def _take(self, ns: int) -> None:
        self._world.took += ns

    def begin(self, step: Step) -> None:
        self._step = step
        self._now = self._cost.step(step.phase, step.tokens, step.contexts)

    def end(self) -> None:
        """Nothing to do."""

    def dense_before(self, layer: int) -> range:
        return range(int(self._cost.prologue > 0))

    def dense(self, layer: int) -> None:
        self._take(self._now.prologue_ns[layer])

    def norm(self) -> None:
        self._take(self._now.norm_ns)

    def attention(self, layer: int) -> None:
        self._take(self._now.attention_ns[layer] - self._now.norm_ns)

    def gate(self, layer: int) -> None:
        self._take(self._now.gate_ns)

    def shared(self, layer: int, routed: Sequence[int]) -> None:
        fixed = self._now.moe_fixed_ns
        self._dispatch = fixed if self._grouped and self._loader.waiting else 0
        self._take(self._now.shared_ns + fixed - self._dispatch)
        _, tokens = self._workload.routed(self._step, layer)
        self._layer, self._serves = layer, dict(zip(routed, tokens or [1] * len(routed)))

    def expert(self, x: int, _: object) -> None:
        self._take(self._dispatch + self._cost.expert_ns(self._layer, self._serves[x]))
        self._dispatch = 0
        if self._world.first or not self._grouped:
            self._take(self._cost.expert_launch_ns)
        self._world.first = False

    def combine(self, layer: int) -> None:
        """Counted with the shared experts, or the first group."""

    def head(self) -> None:
        self._take(self._now.epilogue_ns)

    def network(self, _: int) -> None:
        """A predictor stands for its own network."""

    def predict(self, predictor: Any) -> None:
        self._take(predictor.delay)


class NoSlots:
    """Nothing lies anywhere."""

    def matrices(self, x: int) -> None:
        return None


def _stage(world: World, stage: Stage, number: int, loader: Loader, before: Lanes | None) -> Lanes:
    free = -1 if isinstance(stage, HostLink) else 0  # when the link, or the bus, is

    def take(x: int, nbytes: int) -> None:
        nonlocal free
        if isinstance(stage, HostLink):
            end = world.now + stage.chunk_ns(nbytes, loader.cache.sizes[x], world.now == free)
            free = end
        else:
            free, end = stage.read(world.now, free, nbytes)
        world.took += end - world.now

    def move(x: int, pieces: Sequence[Piece]) -> Work:
        return partial(take, x, sum(count for _, count in pieces))

    queue = TransferQueue(number, stage.chunk, loader.start)
    lanes = [VirtualEngine(world, LANDS) for _ in range(stage.lanes)]
    return Lanes(stage.name, queue, lanes, move, lambda x: None, loader, before)


def replayed(inputs: Inputs, cost: Any) -> Simulation:
    """What the pass of a replay makes of ``inputs`` in virtual time."""
    world, path = World(), load_path(inputs)
    predictors = active_predictors(inputs, cost)
    prefill = inputs.workload.table.prefill.tolist()
    loader = Loader(make_cache(inputs), make_host(inputs), LoadRecords(), prefill)
    stages: list[Lanes] = []
    for number, stage in enumerate(path.stages):
        stages.append(_stage(world, stage, number, loader, stages[-1] if stages else None))
    loader.connect(stages)
    compute, side = VirtualEngine(world, PASSES), VirtualEngine(world, PREDICTS)
    device = RealDevice(compute, side, lambda: world.now, world.wait)
    forward = ReplayPass(
        inputs.workload,
        Durations(inputs, cost, world, loader),  # type: ignore[arg-type]
        device,
        loader,
        NoSlots(),  # type: ignore[arg-type]
        predictors,
        decisions(inputs, loader, path, len(predictors)),
        cost,
        overlap=inputs.runtime.overlap,
    )
    if any(p.delay_of(1) for p in predictors):  # else none has a network, as in a replay
        forward._networks = [[p] * inputs.workload.layers for p in predictors]  # type: ignore[misc]
    forward.run()
    steps, layers, loads = forward.step_records, forward.layer_records, loader.records
    totals = loader.totals(layers, steps, forward.own_ns)
    return Simulation(inputs, "replay", cost, path, predictors, layers, steps, loads, totals, 0)
