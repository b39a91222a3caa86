"""Makes the parts of a run that follow from its inputs: costs, load path, active predictors."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.foreign import BrokenContractError, written
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.cost.tables import COSTS_KEPT
from prefetch_sim.sim.cost.transfers import LoadPath
from prefetch_sim.sim.engine.active_predictor import ActivePredictor
from prefetch_sim.sim.engine.decisions import Decisions
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.predictors.base import Table
from prefetch_sim.sim.prefetch.base import Limits
from prefetch_sim.sim.setup import contracts
from prefetch_sim.sim.setup.inputs import Inputs

_SAID_KEPT = 1  # predictors whose tables are kept: each may take a third of a GB


def active_predictors(inputs: Inputs, cost: CostModel) -> list[ActivePredictor]:
    return [
        ActivePredictor(
            i,
            predictor,
            inputs.workload,
            _table(inputs, i),
            inline=params.placement == "inline",
            cost=cost,
            cost_ns=None if params.cost_us is None else round(params.cost_us * 1e3),
        )
        for i, (_, predictor, params) in enumerate(inputs.predictors)
    ]


class _Same:
    """A key that is equal to that of the same object alone."""

    def __init__(self, held: object) -> None:
        self._held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._held is other._held

    def __hash__(self) -> int:
        return id(self._held)


def predictor_key(inputs: Inputs, index: int) -> Hashable:
    """What a predictor is built from: all of ``predictors.base.Context``, and its parameters."""
    name, predictor, params = inputs.predictors[index]
    # A file is another module each time, but the same code until it is edited. What else of the
    # user's own says depends on more than its code: what a closure or an object holds.
    own = not registry.is_of_this_package(type(predictor).__module__)
    code = written(name) or (_Same(predictor) if own else type(predictor))
    return name, code, params.model_dump_json(), inputs.config.seed, inputs.model


def _table(inputs: Inputs, index: int) -> Table:
    """All that a predictor says: worked out once for runs that build it from the same."""
    name, predictor, _ = inputs.predictors[index]
    workload = inputs.workload

    def said() -> Table:
        try:
            table = predictor.table()
            if not registry.is_of_this_package(type(predictor).__module__):
                contracts.hold_table(table, workload)
        except BrokenContractError as error:
            raise BrokenContractError(error.kind, error.said, name) from error
        return Table(*table)

    kept = max(_SAID_KEPT, len(inputs.predictors))
    return workload.memos.get("said", predictor_key(inputs, index), kept, said)


def load_path(inputs: Inputs) -> LoadPath:
    staged = inputs.host_bytes is not None
    cpu = inputs.cpu_computes
    return LoadPath.of(inputs.profile, inputs.runtime, inputs.sizes, staged=staged, cpu=cpu)


_cost_model = lru_cache(maxsize=COSTS_KEPT)(CostModel)


def cost_model(inputs: Inputs) -> CostModel:
    """The same one for runs of a sweep that share model, hardware, runtime and precision."""
    return _cost_model(
        inputs.model, inputs.profile, inputs.runtime, precision=inputs.config.precision
    )


def decisions(inputs: Inputs, loader: Loader, path: LoadPath, predictors: int) -> Decisions:
    """What decides in a run with so many ``predictors``."""
    prefetch = inputs.config.prefetch
    return Decisions(
        loader,
        path,
        inputs.policy,
        Limits(inputs.workload.top_k, prefetch.extra, prefetch.threshold),
        cancel_stale=prefetch.cancel_stale,
        several=predictors > 1,
        behind=inputs.config.misses.then == "load",
    )
