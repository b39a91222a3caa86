"""An active predictor is a predictor at work in a run."""

from __future__ import annotations

from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.predictors.base import Predictor, Table
from prefetch_sim.sim.workload.step import Step
from prefetch_sim.sim.workload.workload import Workload

Prediction = tuple[list[int], list[float]]  # ids and scores, of each token in turn


class ActivePredictor:
    """Knows when one predictor fires, what it then says, and what that costs.

    ``cost_ns`` of one firing; None: from the predictor's own operations and bytes.
    """

    def __init__(
        self,
        index: int,
        predictor: Predictor,
        workload: Workload,
        table: Table,
        *,
        inline: bool,
        cost: CostModel,
        cost_ns: int | None,
    ) -> None:
        self.index, self.inline = index, inline
        self.trigger, self.distance = predictor.trigger, predictor.distance
        self.table = table
        self._predictor, self._cost, self._cost_ns = predictor, cost, cost_ns
        self.delay = 0  # ns from firing until the prediction for the present step is out
        self._delays: dict[int, int] = {}  # by tokens
        self._lists = [workload.lists(part) for part in self.table]
        self._rows: list[int] = []  # of the present step
        self._ids: list[list[int]] = []  # of its only token
        self._scores: list[list[float]] = []

    @property
    def nbytes(self) -> int:
        """Bytes of its weights."""
        return self._predictor.cost.nbytes

    def begin(self, step: Step) -> None:
        """``step`` is the present one."""
        rows = step.rows
        if len(rows) == 1:
            self._ids, self._scores = (part[rows[0]] for part in self._lists)
        self._rows = list(rows)
        self.delay = self.delay_of(len(rows))

    def prediction(self, target: int) -> Prediction | None:
        """What it says of ``target`` for each token of the step; None where it says nothing."""
        if len(self._rows) == 1:
            ids = self._ids[target]
            return (ids, self._scores[target]) if ids[0] >= 0 else None
        named: list[int] = self.table.ids[self._rows, target].ravel().tolist()
        if max(named) < 0:
            return None
        return named, self.table.scores[self._rows, target].ravel().tolist()

    def delay_of(self, tokens: int) -> int:
        """ns from firing until the prediction for ``tokens`` is out."""
        known = self._delays.get(tokens)
        if known is None:
            flops, nbytes = self._predictor.cost
            known = self._cost_ns
            if known is None:
                free = not flops and not nbytes
                known = 0 if free else self._cost.predictor_ns(flops, nbytes, tokens)
            self._delays[tokens] = known
        return known
