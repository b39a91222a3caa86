"""Makes the predictors that a config names, once their parameters are checked."""

from __future__ import annotations

from pydantic import ValidationError

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.schema import Choice, RunConfig
from prefetch_sim.sim.predictors.base import Context, Predictor, PredictorParams
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.errors import describe
from prefetch_sim.traces.models.spec import ModelSpec


def make_predictor(
    config: RunConfig, workload: Workload, model: ModelSpec, index: int, choice: Choice
) -> tuple[str, Predictor, PredictorParams]:
    key = "predictor" if len(config.predictor) == 1 else f"predictor[{index}]"
    recorded = tuple(workload.trace.meta.predictions)
    name, params = choice.name, choice.params
    if name in recorded:
        name, params = "recorded", {"column": choice.name, **params}
    try:
        module = registry.find("predictors", name, ("none", *recorded))
        if not (isinstance(module.Params, type) and issubclass(module.Params, PredictorParams)):
            raise ConfigError(
                f"{name!r}: its Params are no prefetch_sim.sim.predictors.base.PredictorParams"
            )
        parsed = module.Params.model_validate(params)
        predictor = module.Predictor(parsed, Context(workload, config.seed, model))
        if predictor.distance >= workload.layers:
            raise ConfigError(
                f"distance {predictor.distance} reaches past the last of {workload.layers} MoE "
                "layers: it would never predict"
            )
    except ValidationError as error:
        raise ConfigError(describe(error, module.Params, key)) from error
    except ConfigError as error:
        note = "" if recorded else " (the trace records no predictors)"
        raise ConfigError(f"{key}: {error}{note}") from error
    label = parsed.column if name == "recorded" else choice.name  # type: ignore[attr-defined]
    return label, predictor, parsed
