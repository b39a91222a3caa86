"""Parts of a run that follow from its inputs: its cost model and its active predictors."""

from __future__ import annotations

from functools import lru_cache

from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.cost.tables import COSTS_KEPT
from prefetch_sim.sim.engine.active_predictor import ActivePredictor
from prefetch_sim.sim.results.quality import Quality
from prefetch_sim.sim.setup.inputs import Inputs

_SAID_KEPT = 1  # predictors whose tables are kept: each may take a third of a GB


def active_predictors(inputs: Inputs, cost: CostModel) -> list[ActivePredictor]:
    return [
        ActivePredictor(
            i,
            predictor,
            inputs.workload,
            _said(inputs, i),
            inline=params.placement == "inline",
            cost=cost,
            cost_ns=None if params.cost_us is None else round(params.cost_us * 1e3),
        )
        for i, (_, predictor, params) in enumerate(inputs.predictors)
    ]


def _said(inputs: Inputs, index: int) -> Quality:
    """What a predictor says, and how well: worked out once for runs that build it from the same.

    That is all of ``predictors.base.Context``, and its parameters.
    """
    name, predictor, params = inputs.predictors[index]
    key = (name, params.model_dump_json(), inputs.config.seed, inputs.model)
    return inputs.workload.memos.get(
        "said",
        key,
        max(_SAID_KEPT, len(inputs.predictors)),
        lambda: Quality(inputs.workload, predictor.table(), predictor.distance),
    )


_cost_model = lru_cache(maxsize=COSTS_KEPT)(CostModel)


def cost_model(inputs: Inputs) -> CostModel:
    """The same one for runs of a sweep that share model, hardware and precision."""
    config = inputs.config
    return _cost_model(
        inputs.model,
        inputs.profile,
        precision=config.precision or inputs.model.precision,
        kernels=config.kernels,
    )
