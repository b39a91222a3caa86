"""What a predictor is: it knows routing, never time.

A module with a ``Params`` model (its keys in the config) and a ``Predictor``, whose ``table`` is
all that it says over a workload: engines look predictions up and charge the cost. What it says of
a layer may depend on what is routed before its trigger fires and on nothing later; those allowed
to look ahead say so in their docstring. ``Online`` is the simplest form of one: asked in the order
of the run, told of each routing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from prefetch_sim.sim.config.foreign import BrokenContractError
from prefetch_sim.sim.config.values import Section
from prefetch_sim.sim.workload.step import Step
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.models.spec import ModelSpec

# layer_start: after the layer's input norm. gate_input: after attention, where the router reads.
# routed: once the layer's own routed set is known.
Trigger = Literal["layer_start", "gate_input", "routed"]


class Prediction(NamedTuple):
    """Candidates for each token in turn, best first, the same number for each; -1 for none.

    ``ids`` are flat expert ids, ``scores`` probabilities in [0, 1].
    """

    ids: list[int]
    scores: list[float]


class Table(NamedTuple):
    """All predictions of a run: candidates of each token for each layer, best first.

    ``ids`` [tokens, layers, m] are flat expert ids, -1 where there are no more; ``scores``
    [tokens, layers, m] probabilities. A token whose first id is -1 got none for that layer.
    """

    ids: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]


class Cost(NamedTuple):
    """Of one firing: ``flops`` a token, ``nbytes`` of weights read. Zero: charged nothing."""

    flops: float = 0.0
    nbytes: int = 0


class PredictorParams(Section):
    """Keys every predictor takes in the config, beside its name."""

    placement: Literal["side", "inline"] = Field(
        default="side", description="beside the compute engine, or on it"
    )
    cost_us: float | None = Field(default=None, ge=0, le=1e9, description="instead of its own cost")


@dataclass(frozen=True)
class Context:
    """What a predictor is built from."""

    workload: Workload
    seed: int
    model: ModelSpec  # whose sizes and times the run takes; not always the trace's


class Predictor(ABC):
    """One predictor in one run."""

    trigger: Trigger = "layer_start"
    distance: int = 0  # target layer = layer that fires + distance, in MoE layers
    cost: Cost = Cost()

    @abstractmethod
    def table(self) -> Table:
        """All that it says over the workload of its context."""


class Online(Predictor):
    """One that is asked and told step by step. Flat state belongs in lists indexed by flat id."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @abstractmethod
    def predict(self, step: Step, target: int) -> Prediction | None:
        """Candidates for MoE layer ``target`` of ``step``; None where it cannot tell."""

    @abstractmethod
    def observe(self, step: Step, layer: int) -> None:
        """The routing of ``layer`` in ``step`` is known."""

    def table(self) -> Table:
        workload = self._context.workload
        layers = workload.layers
        table = silent(workload, workload.top_k)

        def fire(step: Step, layer: int) -> None:
            nonlocal table
            target = layer + self.distance
            if target >= layers or (said := self.predict(step, target)) is None:
                return
            rows = list(step.rows)
            named, scores = _arrays(said, len(rows))
            m, width = named.shape[1], table.ids.shape[2]
            if m > width:
                more = ((0, 0), (0, 0), (0, m - width))
                ids = np.pad(table.ids, more, constant_values=-1)
                table = Table(ids, np.pad(table.scores, more))
            table.ids[rows, target, :m] = named
            table.scores[rows, target, :m] = scores

        after = self.trigger == "routed"
        for step in workload.steps():
            for layer in range(layers):
                if not after:
                    fire(step, layer)
                self.observe(step, layer)
                if after:
                    fire(step, layer)
        return table


def _arrays(said: Prediction, tokens: int) -> Table:
    """What ``predict`` returned, [tokens, m] each. Raises BrokenContractError."""
    if not isinstance(said, tuple) or len(said) != len(Prediction._fields):
        what = f"predict returned {shown(said)} where a Prediction or None is expected"
        raise BrokenContractError("predictors", what)
    ids, scores = np.asarray(said[0]), np.asarray(said[1])
    numbers = ids.dtype.kind in "iuf" and scores.dtype.kind in "iuf"
    if not numbers or not (ids % 1 == 0).all():
        what = f"a Prediction has the ids {shown(said[0])} and the scores {shown(said[1])}"
        raise BrokenContractError("predictors", f"{what}: lists of whole numbers, and of numbers")
    if ids.size % tokens or ids.size != scores.size:
        what = f"a Prediction has {ids.size} ids and {scores.size} scores for {tokens} tokens"
        raise BrokenContractError("predictors", f"{what}: not the same number for each")
    least, most = -(1 << 31), (1 << 31) - 1  # what lies beyond is no expert, and stays none
    shape = tokens, ids.size // tokens
    return Table(
        ids.clip(least, most).astype(np.int32).reshape(shape),
        scores.astype(np.float32).reshape(shape),
    )


def in_common(a: npt.NDArray[np.int32], b: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """[...]: how many of the experts of ``a`` [..., k] are in ``b`` [..., m] too."""
    found = np.zeros(a.shape[:-1], dtype=np.int64)
    for rank in range(a.shape[-1]):  # slot by slot: no [..., k, m] array
        found += (a[..., rank : rank + 1] == b).any(axis=-1)
    return found


def silent(workload: Workload, m: int) -> Table:
    """A table in which nothing is said yet."""
    shape = (*workload.flat.shape[:2], m)
    return Table(np.full(shape, -1, dtype=np.int32), np.zeros(shape, dtype=np.float32))
