"""What a finished run is, by either engine."""

from __future__ import annotations

from dataclasses import dataclass

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
    engine: Engine
    cost: CostModel
    path: LoadPath
    predictors: list[ActivePredictor]
    layers: LayerRecords
    steps: StepRecords
    loads: LoadRecords
    totals: Totals
    events: int
