"""What a finished run is, by either engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.cost.transfers import LoadPath
from prefetch_sim.sim.engine.active_predictor import ActivePredictor
from prefetch_sim.sim.engine.records import LayerRecords, LoadRecords, StepRecords, Totals
from prefetch_sim.sim.setup.engine_choice import Engine
from prefetch_sim.sim.setup.inputs import Inputs


@dataclass(frozen=True)
class Simulation:
    """A finished run: its records, and the parts that made them.

    ``layers`` and ``loads`` are empty where records were not asked for; ``totals`` never are.
    """

    inputs: Inputs
    engine: Engine | Literal["replay"]  # replay: on a real device
    cost: CostModel
    path: LoadPath
    predictors: list[ActivePredictor]
    layers: LayerRecords
    steps: StepRecords
    loads: LoadRecords
    totals: Totals
    events: int

    @property
    def own_ns(self) -> int:
        """ns of the serving engine's own work: neither computing nor waiting for experts."""
        if self.engine == "replay":
            return self.totals.bookkeeping
        return self.cost.runtime.total_ns(len(self.steps), self.totals.bookkeeping)


@dataclass(frozen=True)
class Replayed:
    """A run on a real device, its times measured.

    ``outputs``: float32 [layer-steps, hidden], the last token's state after each MoE layer, which
    two replays of one workload share to the bit; ``machine``: what it ran on, and when.
    """

    simulation: Simulation
    outputs: npt.NDArray[np.float32]
    machine: dict[str, str]
