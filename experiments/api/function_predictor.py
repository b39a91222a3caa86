"""A predictor that is one Python function of what is routed so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from prefetch_sim.experiments.text import one_line
from prefetch_sim.sim.config.foreign import BrokenContractError
from prefetch_sim.sim.predictors.base import Context, Online, Prediction, PredictorParams, Trigger
from prefetch_sim.sim.workload.step import Step
from prefetch_sim.traces.errors import shown


class FunctionParams(PredictorParams):
    """Keys in the config of a predictor that is a function."""

    distance: int = Field(default=1, ge=0)
    trigger: Trigger = "layer_start"

    @model_validator(mode="after")
    def _ahead(self) -> FunctionParams:
        if self.trigger == "routed" and not self.distance:
            raise ValueError("distance: is 1 or more with the trigger routed")
        return self


class FunctionPredictor(Online):
    """Asks ``function(routed, layer)`` for the experts of MoE layer ``layer``.

    ``routed`` int16 [tokens, layers, k]: what the request's tokens were routed to so far, the
    present one last, best first; -1 where nothing is routed yet. It returns experts of that layer
    (0 to E - 1), best first, or (experts, scores), or None where it cannot tell. It is asked for
    each token of a decode step as its ``trigger`` fires in layer ``layer - distance``.
    """

    function: tuple[Callable[..., Any]]  # in a tuple, as it is no method

    def __init__(self, params: FunctionParams, context: Context) -> None:
        super().__init__(context)
        self.distance, self.trigger = params.distance, params.trigger
        self._workload = context.workload
        self._routed = np.full_like(context.workload.trace.experts, -1)
        self._shown = self._routed.view()
        self._shown.flags.writeable = False

    def predict(self, step: Step, target: int) -> Prediction | None:
        if step.prefill:
            return None
        said = [self._of_one(*token, target) for token in zip(step.requests, step.rows)]
        width = max(len(ids) for ids, _ in said)
        if not width:
            return None
        ids, scores = [], []
        for named, likely in said:
            silent = width - len(named)
            ids += [*named, *[-1] * silent]
            scores += [*likely, *[0.0] * silent]
        return Prediction(ids, scores)

    def observe(self, step: Step, layer: int) -> None:
        rows = list(step.rows)
        self._routed[rows, layer] = self._workload.trace.experts[rows, layer]

    def _of_one(self, request: int, row: int, target: int) -> tuple[list[int], list[float]]:
        """(flat ids, scores) for the token in ``row`` of the trace."""
        (function,) = self.function
        first, experts = self._workload.requests[request][1], self._workload.experts
        said = function(self._shown[first : row + 1], target)
        try:
            named, scores = _read(said, experts)
        except ValueError as error:
            said = f"it gave {error} of layer {target}"
            raise BrokenContractError("predictors", said, type(self).__module__) from error
        return [target * experts + x for x in named], scores


def _read(said: Any, experts: int) -> tuple[list[int], list[float]]:
    """(experts, scores) that a function returned. Raises ValueError: what is wrong with it."""
    if said is None:
        return [], []
    named, scores = said, None
    if isinstance(said, tuple):
        if len(said) != 2 or isinstance(said[0], int | np.integer):
            raise ValueError(f"{_shown(said)}, which is neither a list nor (experts, scores),")
        named, scores = said
    ids = _list(named)
    if ids is None or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"{_shown(named)}, which is no list of whole numbers,")
    likely = np.ones(ids.size) if scores is None else _list(scores)
    if likely is None or (likely.size and likely.dtype.kind not in "iuf"):
        raise ValueError(f"the scores {_shown(scores)}, which are no list of numbers,")
    if likely.size != ids.size:
        raise ValueError(f"{likely.size} scores for {ids.size} experts")
    odd = likely[~np.isfinite(likely)].tolist()
    if odd:
        raise ValueError(f"the score {odd[0]}")
    there = [(int(x), float(score)) for x, score in zip(ids, likely) if x != -1]
    found = [x for x, _ in there]
    for x in found:
        if not 0 <= x < experts:
            raise ValueError(f"expert {x}, and there are {experts}, 0 to {experts - 1},")
    if len(set(found)) < len(found):
        raise ValueError(f"one expert twice, {_shown(found)},")
    return found, [score for _, score in there]


def _list(given: Any) -> npt.NDArray[Any] | None:
    """A list or an array of one axis, or one number; None for anything else."""
    try:
        array = np.atleast_1d(np.asarray(given))
    except ValueError:  # lists of several lengths
        return None
    # NumPy makes 1 of a True beside whole numbers.
    mixed = isinstance(given, list | tuple) and any(isinstance(x, bool | np.bool_) for x in given)
    return None if array.ndim != 1 or mixed else array


def _shown(value: Any) -> str:
    return one_line(shown(value))
