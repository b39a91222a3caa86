"""What a predictor is: it knows routing, never time.

A module with a ``Params`` model (its keys in the config) and a ``Predictor``. It is played over
the workload before the run (``sim.tabulate``): ``predict`` when the trigger fires, then
``observe`` once a layer is routed. Engines look its predictions up and charge the cost.
A predictor may read of the present step only the layers already routed; those allowed to look
ahead say so in their docstring.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from heapq import nlargest
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sim.config import Section
from sim.workload import Step, Workload
from traces.model import ModelSpec

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
    cost_us: float | None = Field(default=None, ge=0, description="instead of its own cost")


@dataclass(frozen=True)
class Context:
    """What a predictor is built from."""

    workload: Workload
    seed: int
    model: ModelSpec  # whose sizes and times the run takes; not always the trace's


class Predictor(ABC):
    """One predictor in one run. Flat state belongs in lists or arrays indexed by flat id."""

    trigger: Trigger = "layer_start"
    distance: int = 0  # target layer = layer that fires + distance, in MoE layers
    cost: Cost = Cost()

    @abstractmethod
    def predict(self, step: Step, target: int) -> Prediction | None:
        """Candidates for MoE layer ``target`` of ``step``; None where it cannot tell."""

    def observe(self, step: Step, layer: int) -> None:  # noqa: B027 - most do not learn online
        """The routing of ``layer`` in ``step`` is known."""

    def table(self) -> Table | None:
        """All predictions at once, where that is faster than asking ``predict`` for each."""
        return None


def best(scores: list[float], first: int, m: int) -> list[int]:
    """The ``m`` flat ids with the highest of ``scores`` (ids ``first``…), ties by lowest id."""
    return nlargest(m, range(first, first + len(scores)), key=lambda x: (scores[x - first], -x))
