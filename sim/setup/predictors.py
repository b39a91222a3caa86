"""Makes the predictors that a config names, once their parameters are checked."""

from __future__ import annotations

import re
from types import ModuleType

from pydantic import ValidationError

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.choices import Choice
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.foreign import BrokenContractError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.predictors.base import Context, Predictor, PredictorParams
from prefetch_sim.sim.setup import contracts
from prefetch_sim.sim.setup.arguments import hold_arguments
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.errors import describe
from prefetch_sim.traces.models.spec import ModelSpec

# A name and a number in one: oracle:0.8, oracle(80%), cross-layer=2.
_IN_ONE = re.compile(r"([\w-]+)\s*[:=@( ]\s*(\d+(?:\.\d+)?)\s*(%?)\)?")


def make_predictor(
    config: RunConfig, workload: Workload, model: ModelSpec, index: int, choice: Choice
) -> tuple[str, Predictor, PredictorParams]:
    key = "predictor" if len(config.predictor) == 1 else f"predictor[{index}]"
    recorded = tuple(workload.trace.meta.predictions)
    name, params = choice.name, choice.params
    if name in recorded:
        name, params = "recorded", {"column": choice.name, **params}
    try:
        _check_name(name, (*registry.names("predictors"), *recorded))
        module = registry.find("predictors", name, ("none", *recorded))
        parsed = params_of(module, name).model_validate(params)
        own = not registry.is_of_this_package(module.__name__)
        if own:
            hold_arguments("predictors", module)
        predictor = module.Predictor(parsed, Context(workload, config.seed, model))
        if own:
            contracts.hold_predictor(predictor)
        if predictor.distance >= workload.layers:
            raise ConfigError(
                f"distance {predictor.distance} reaches past the last of {workload.layers} MoE "
                "layers: it would never predict"
            )
    except ValidationError as error:
        raise ConfigError(describe(error, module.Params, key)) from error
    except BrokenContractError as error:
        raise BrokenContractError(error.kind, error.said, name) from error
    except ConfigError as error:
        note = "" if recorded else " (the trace records no predictors)"
        raise ConfigError(f"{key}: {error}{note}") from error
    label = parsed.column if name == "recorded" else choice.name  # type: ignore[attr-defined]
    return label, predictor, parsed


def params_of(module: ModuleType, name: str) -> type[PredictorParams]:
    """The predictor's Params. Raises ConfigError where they are none."""
    found = module.Params
    if not (isinstance(found, type) and issubclass(found, PredictorParams)):
        raise ConfigError(
            f"{name!r}: its Params are no prefetch_sim.sim.predictors.base.PredictorParams"
        )
    return found


def _check_name(name: str, known: tuple[str, ...]) -> None:
    """Raises ConfigError for a name with a parameter in it, which says how to write both."""
    match = _IN_ONE.fullmatch(name)
    if match is None or match[1] not in known:
        return
    _, number, percent = match.groups()
    value = f"{float(number) / 100:g}" if percent else number
    key = "recall" if percent or "." in number else "distance"
    raise ConfigError(f"{name!r} is no name: write {{name: {match[1]}, {key}: {value}}}")
