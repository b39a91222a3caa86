"""A predictor recorded in the trace, replayed with its own trigger, distance and cost.

Naming a recorded predictor (``predictor: pre-attention``) is short for
``{name: recorded, column: pre-attention}``.

A cost recorded at one model's hidden size is scaled linearly to that of the run's model: right for
the matrix that reads the hidden state, somewhat high for a second one behind it.
"""

from __future__ import annotations

import numpy as np

from sim.errors import ConfigError, did_you_mean
from sim.predictors.base import Context, Cost, Prediction, PredictorParams
from sim.predictors.base import Predictor as Base
from sim.workload import Step


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
        self._ids = workload.flatten(prediction.experts)
        # 16-bit floats are slow to turn into Python's.
        self._scores = prediction.scores.astype(np.float32)
        self._id_rows = workload.lists(self._ids)
        self._score_rows = workload.lists(self._scores)
        self._row = -1  # the row last asked for, kept at hand
        self._row_ids: list[list[int]] = []
        self._row_scores: list[list[float]] = []

    def predict(self, step: Step, target: int) -> Prediction | None:
        if len(step.rows) == 1:
            row = step.rows[0]
            if row != self._row:
                self._row = row
                self._row_ids, self._row_scores = self._id_rows[row], self._score_rows[row]
            ids = self._row_ids[target]
            return Prediction(ids, self._row_scores[target]) if ids[0] >= 0 else None
        rows = list(step.rows)
        ids = self._ids[rows, target].ravel().tolist()
        return Prediction(ids, self._scores[rows, target].ravel().tolist())
