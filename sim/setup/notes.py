"""What a run takes that its config does not say, and what in it has no effect: a line each."""

from __future__ import annotations

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.choices import ModelChoice
from prefetch_sim.sim.config.schema import RunConfig, SyntheticTrace
from prefetch_sim.sim.predictors.base import Predictor, PredictorParams
from prefetch_sim.sim.predictors.recorded import Params as Recorded
from prefetch_sim.sim.setup.traces import sample_of, shape
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.models import catalogue
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.samples import samples

Made = tuple[tuple[str, Predictor, PredictorParams], ...]


def notes(
    asked: RunConfig,
    config: RunConfig,
    workload: Workload,
    model: ModelSpec,
    sizes: list[int],
    predictors: Made = (),
) -> tuple[str, ...]:
    """``asked``: the config as it was given; ``sizes``: bytes of an expert, by layer."""
    found = []
    each = f"{shape(model)}, {sum(sizes) / len(sizes) / 2**20:.3g} MiB an expert"
    if asked.trace is None and asked.model.name is None:
        found.append(
            f"model: none given; simulates {model.name} ({each}) with the routing of {config.trace}"
        )
    elif asked.trace is None:
        found.append(f"trace: none given; takes the routing of {config.trace}")
    elif asked.trace in samples() and asked.model == ModelChoice():
        found.append(
            f"warning: model: none given; simulates {model.name}, the small model that the trace "
            f"was recorded on ({each}); write model: {_published(model)} for a published one's "
            "sizes"
        )
    if config.trace not in samples():  # of those it is known that the recorded model is small
        found += _scaled(workload, model, predictors)
    found += _of_two(predictors)
    found += _made_for_lru(config)
    requests = len(workload.requests)
    if config.batch_size > requests:
        are = f"are {requests} requests" if requests > 1 else "is one request"
        found.append(f"warning: batch_size: {config.batch_size} at a time, but there {are}")
    return tuple(found)


def _made_for_lru(config: RunConfig) -> list[str]:
    """Routing that was made to what LRU hits says little of what another eviction would."""
    trace, eviction = config.trace, config.cache.eviction.name
    if not isinstance(trace, SyntheticTrace) or not trace.published or eviction == "lru":
        return []
    key = "hit_rate" if trace.hit_rate is not None else "loads_per_step"
    return [
        f"trace.{key}: this routing is made to what LRU hits, so it says little of {eviction}; "
        "a recording does"
    ]


def _scaled(workload: Workload, model: ModelSpec, predictors: Made) -> list[str]:
    """Recorded predictors that are charged in proportion to the width of the run's model."""
    recorded_at = workload.trace.meta.model.hidden
    if recorded_at == model.hidden:
        return []
    return [
        f"predictor {name}: its cost was recorded at hidden size {recorded_at:,} and is taken "
        f"{model.hidden / recorded_at:.3g} times, for {model.name}'s {model.hidden:,}"
        for name, predictor, params in predictors
        if isinstance(params, Recorded) and params.cost_us is None and any(predictor.cost)
    ]


def _of_two(predictors: Made) -> list[str]:
    """Recorded predictors that have a built-in one's name, which a config may have meant."""
    return [
        f"predictor {name}: takes what the trace records by that name, not the built-in {name}"
        for name, _, params in predictors
        if isinstance(params, Recorded) and name in registry.names("predictors")
    ]


def _published(model: ModelSpec) -> str:
    """The published model in whose topology a bundled trace's small one was made."""
    name = model.name.removeprefix("mini-")
    if name in catalogue.names():
        return name
    alike = (name for name in catalogue.names() if sample_of(catalogue.shape(name)) == model.name)
    return next(alike, "NAME")
