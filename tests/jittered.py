"""A replay that is none: a simulation whose transfers take a little more or less each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.machine.device import SimulatedDevice
from prefetch_sim.sim.results.simulation import Replayed, Simulation
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup.inputs import Inputs

Watch = Callable[[Any, Loader], None]


def jittered(inputs: Inputs, share: float, seed: int, watch: Watch) -> Simulation:
    """``share``: of a transfer's time, by how much it is off at most."""
    random = Random(seed)

    def watched(device: SimulatedDevice, loader: Loader) -> None:
        for server in device.stages:
            server._finish = off(server._finish)
        watch(device, loader)

    def off(finish: Callable[[int, int, int], int]) -> Callable[[int, int, int], int]:
        def later(now: int, nbytes: int, size: int) -> int:
            takes = finish(now, nbytes, size) - now
            return now + max(1, round(takes * random.uniform(1 - share, 1 + share)))

        return later

    return simulate(inputs, watched)


class FakeReplay:
    """Stands for ``sim.run.replay``: every run has its own jitter. ``runs`` counts them."""

    def __init__(self, share: float = 0.2, runs: int = 0) -> None:
        self.share, self.runs = share, runs

    def __call__(
        self, inputs: Inputs, *, device: str, storage: object, watch: Watch | None = None
    ) -> Replayed:
        self.runs += 1
        done = jittered(inputs, self.share, self.runs, watch or (lambda *_: None))
        routed = inputs.workload.table.first_routed
        outputs = np.diff(routed).astype(np.float32)[:, None] * np.ones(4, np.float32)
        return Replayed(replace(done, engine="replay"), outputs, {"date": "today", "system": "x"})
