"""What the same layer routed for the request's previous token."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from prefetch_sim.sim.predictors.base import Context, PredictorParams, Table, in_common, silent
from prefetch_sim.sim.predictors.base import Predictor as Base

_BLOCK = 10_000  # rows compared at a time


class Params(PredictorParams):
    distance: int = Field(default=1, ge=0)


class Predictor(Base):
    def __init__(self, params: Params, context: Context) -> None:
        self.distance = params.distance
        self._workload = context.workload

    def table(self) -> Table:
        """Every candidate is as likely as slots have repeated so far (rule of succession)."""
        workload = self._workload
        steps, k = workload.table, workload.top_k
        said = silent(workload, k)
        step = np.empty(len(workload.flat), dtype=np.int64)  # of each row
        step[steps.rows] = np.repeat(np.arange(len(steps.kind)), np.diff(steps.first_row))
        follows = steps.prefill[step] == 0  # a prompt's tokens run at once: none is known before
        follows[[start for _, start, _ in workload.requests]] = False
        rows = np.flatnonzero(follows)
        slots, repeated = np.zeros((2, len(steps.kind), workload.layers), dtype=np.int64)
        for first in range(0, len(rows), _BLOCK):
            some = rows[first : first + _BLOCK]
            now, before = workload.flat[some], workload.flat[some - 1]
            both = (now[:, :, 0] >= 0) & (before[:, :, 0] >= 0)
            np.add.at(slots, step[some], k * both)
            np.add.at(repeated, step[some], both * in_common(now, before))
        score = ((_until(repeated) + 1) / (_until(slots) + 2)).astype(np.float32)
        layers = max(0, workload.layers - self.distance)  # those that fire
        ids = workload.flat[rows - 1, self.distance :]
        said.ids[rows, self.distance :] = ids
        at_firing = score[step[rows], :layers, None]
        said.scores[rows, self.distance :] = np.where(ids >= 0, at_firing, np.float32(0))
        return said


def _until(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[steps, layers]: the sum over all that is routed before that layer of that step."""
    flat = counts.ravel()
    return (np.cumsum(flat) - flat).reshape(counts.shape)
