"""What the same layer routed for the request's previous token."""

from __future__ import annotations

from pydantic import Field

from sim.predictors.base import Context, Prediction, PredictorParams
from sim.predictors.base import Predictor as Base
from sim.workload import Step


class Params(PredictorParams):
    distance: int = Field(default=1, ge=0)


class Predictor(Base):
    def __init__(self, params: Params, context: Context) -> None:
        self.distance = params.distance
        self._rows = context.workload.lists(context.workload.flat)
        self._k = context.workload.top_k
        self._first_rows = {start for _, start, _ in context.workload.requests}
        self._slots = self._repeated = 0  # of tokens with a previous one, so far

    def predict(self, step: Step, target: int) -> Prediction | None:
        if step.prefill:
            return None  # its tokens run at once: none has a previous one that is known
        ids: list[int] = []
        for row in step.rows:
            ids += [-1] * self._k if row in self._first_rows else self._rows[row - 1][target]
        # Every candidate is as likely as slots have repeated so far (rule of succession).
        score = (self._repeated + 1) / (self._slots + 2)
        return Prediction(ids, [score] * len(ids)) if max(ids) >= 0 else None

    def observe(self, step: Step, layer: int) -> None:
        if step.prefill:
            return
        for row in step.rows:
            if row not in self._first_rows:
                now, before = self._rows[row][layer], self._rows[row - 1][layer]
                if now[0] >= 0 and before[0] >= 0:
                    self._slots += self._k
                    self._repeated += len(set(before).intersection(now))
