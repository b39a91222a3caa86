"""A predictor recorded in the trace, read with its own trigger, distance and cost.

Naming a recorded predictor (``predictor: pre-attention``) is short for
``{name: recorded, column: pre-attention}``.

A cost recorded at one model's hidden size is scaled linearly to that of the run's model: right for
the matrix that reads the hidden state, somewhat high for a second one behind it.
"""

from __future__ import annotations

import numpy as np

from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
from prefetch_sim.sim.predictors.base import Context, Cost, PredictorParams, Table
from prefetch_sim.sim.predictors.base import Predictor as Base


class Params(PredictorParams):
    column: str


class Predictor(Base):
    def __init__(self, params: Params, context: Context) -> None:
        workload = context.workload
        recorded = workload.trace.predictions
        if params.column not in recorded:
            hint = did_you_mean(params.column, recorded)
            raise ConfigError(f"the trace records no predictor {params.column!r}{hint}")
        prediction = recorded[params.column]
        info = prediction.info
        self.trigger, self.distance = info.trigger, info.distance
        wider = context.model.hidden / workload.trace.meta.model.hidden
        self.cost = Cost(info.flops * wider, round(info.bytes * wider))
        ids = workload.flatten(prediction.experts)
        self._table = Table(ids, prediction.scores.astype(np.float32))

    def table(self) -> Table:
        return self._table
