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
        self._reuse = _reuse(context)

    def predict(self, step: Step, target: int) -> Prediction | None:
        if step.prefill:
            return None  # its tokens run at once: none has a previous one that is known
        ids: list[int] = []
        for row in step.rows:
            ids += [-1] * self._k if row in self._first_rows else self._rows[row - 1][target]
        return Prediction(ids, [self._reuse] * len(ids)) if max(ids) >= 0 else None


def _reuse(context: Context) -> float:
    """The score of every candidate: how often a slot repeats, over the whole trace."""
    flat = context.workload.flat
    same_request = context.workload.trace.request_id[1:] == context.workload.trace.request_id[:-1]
    if not same_request.any():
        return 0.0
    sample = flat[1:][same_request][:4096], flat[:-1][same_request][:4096]
    repeated = (sample[0][..., :, None] == sample[1][..., None, :]).any(-1)
    return float(repeated.mean())
