"""Finds and checks what a config names: trace, model, hardware, runtime, policies.

Nothing runs before all of it holds; each error is one line that names the key. What is checked
apart: ``traces``, ``predictors``, ``capacities``, and ``engine_choice`` beside it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from prefetch_sim.hardware_profiles import (
    HardwareProfile,
    ProfileError,
    RuntimeProfile,
    load_machine,
    load_runtime,
    override,
)
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.choices import Choice
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.foreign import blamed
from prefetch_sim.sim.config.models import ModelError, load_model, with_figures
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.cost.reserve import longest, reserve
from prefetch_sim.sim.misses import load as load_all
from prefetch_sim.sim.predictors.base import Predictor, PredictorParams
from prefetch_sim.sim.setup import contracts
from prefetch_sim.sim.setup.capacities import cache_bytes, cache_total, host_bytes, static_bytes
from prefetch_sim.sim.setup.notes import notes
from prefetch_sim.sim.setup.predictors import make_predictor
from prefetch_sim.sim.setup.static_experts import static_experts
from prefetch_sim.sim.setup.traces import cure, load_workload, shape, with_trace
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.models.spec import ModelSpec


@dataclass(frozen=True)
class Inputs:
    """Holds what one run is made of."""

    config: RunConfig
    workload: Workload
    model: ModelSpec
    profile: HardwareProfile
    runtime: RuntimeProfile
    eviction: ModuleType
    policy: ModuleType
    misses: ModuleType
    predictors: tuple[tuple[str, Predictor, PredictorParams], ...]
    sizes: list[int]  # bytes of one expert, by MoE layer
    cache_bytes: list[int]  # by partition, static experts included
    host_bytes: int | None  # None: every expert is in host memory
    static: tuple[int, ...] = ()  # flat ids of experts that never leave the cache, in order
    notes: tuple[str, ...] = ()  # what a person should be told before the run, a line each

    @property
    def rooms(self) -> list[int]:
        """Bytes of the cache, by partition, beside static experts."""
        held = static_bytes(self.sizes, self.model.experts, self.static)
        if len(self.cache_bytes) == 1:
            held = [sum(held)]
        return list(map(operator.sub, self.cache_bytes, held))

    @property
    def as_given(self) -> dict[str, str]:
        """Model, hardware and runtime by name, with what the config changes of each.

        ``rtx-4090 with host_link.gb_s 12.3``.
        """
        config = self.config
        return {
            "model": _with(self.model.name, config.model.figures),
            "hardware": _with(self.profile.name, config.hardware.params),
            "runtime": _with(self.runtime.name, config.runtime.params),
        }

    @property
    def lacking(self) -> list[str]:
        """What the run does that its runtime does not."""
        done = {
            "prefetch": bool(self.predictors),
            "loads": not self.cpu_computes,
            "cpu": self.cpu_computes,
        }
        return [what for what in self.runtime.lacks if done[what]]

    @property
    def cpu_computes(self) -> bool:
        """Whether the CPU may compute experts that are missing."""
        return self.misses is not load_all


@blamed
def load(config: RunConfig) -> Inputs:
    """Read and check all that ``config`` names. Raises ConfigError."""
    asked, config = config, with_trace(config)
    workload = load_workload(config)
    trace_model = workload.trace.meta.model
    key = "model"
    try:
        model = trace_model
        if config.model.name:
            model = load_model(config.model.name, config.precision)
        model = with_figures(model, config.model.figures)
        key = "hardware"
        profile = load_machine(config.hardware.name, config.hardware.params)
        key = "runtime"
        runtime = load_runtime(config.runtime.name)
        runtime = override(runtime, config.runtime.params)
    except (ModelError, ProfileError) as error:
        raise ConfigError(f"{key}: {error}") from error
    if model.topology != trace_model.topology:
        raise ConfigError(
            f"model: {model.name} routes {shape(model)}, "
            f"but the trace was recorded on {trace_model.name} with {shape(trace_model)}"
            f"{_cure(config, model)}"
        )
    if config.prefetch.extra > model.experts:
        extra = config.prefetch.extra
        raise ConfigError(f"prefetch.extra: {extra} exceeds the {model.experts} experts of a layer")
    sizes = list(model.bytes_per_expert(config.precision))
    if config.context is not None and config.context < longest(workload):
        raise ConfigError(
            f"context: {config.context} tokens are fewer than the trace's longest request has, "
            f"{longest(workload)}"
        )
    beside = reserve(model, workload, config.precision, runtime, config.context)
    eviction = _find("cache.eviction", "eviction", config.cache.eviction)
    policy = _find("prefetch.policy", "prefetch", Choice(name=config.prefetch.policy))
    misses = _find("misses.policy", "misses", Choice(name=config.misses.policy))
    if misses is not load_all and profile.cpu is None:
        has = "one memory" if profile.unified_memory else "no `cpu` to compute experts on"
        raise ConfigError(f"misses.policy: {config.misses.policy}: {profile.name} has {has}")
    predictors = tuple(
        make_predictor(config, workload, model, i, c) for i, c in enumerate(config.predictor)
    )
    total = cache_total(config, model, sizes, profile, beside)
    static = static_experts(config.cache.static, workload, sizes, total)
    inputs = Inputs(
        config,
        workload,
        model,
        profile,
        runtime,
        eviction,
        policy,
        misses,
        predictors,
        sizes,
        cache_bytes(config, model, sizes, total, static, loads=misses is load_all),
        host_bytes(config, model, sizes, profile, static),
        static,
        notes(asked, config, workload, model, sizes, predictors),
    )
    if inputs.host_bytes is not None and inputs.cpu_computes and not _all_can_come(inputs):
        raise ConfigError(
            "host.capacity: what is not there has to be loaded, and beside cache.static there is "
            "no room for one expert"
        )
    return inputs


def _all_can_come(inputs: Inputs) -> bool:
    """Whether there is room for one expert of each layer whose experts are not all static."""
    held = static_bytes(inputs.sizes, inputs.model.experts, inputs.static)
    rooms = inputs.rooms if len(inputs.rooms) > 1 else inputs.rooms * len(inputs.sizes)
    return all(
        size <= room or taken == size * inputs.model.experts
        for size, room, taken in zip(inputs.sizes, rooms, held)
    )


def _cure(config: RunConfig, model: ModelSpec) -> str:
    """Only where the whole of a named model is meant."""
    return f"; {cure(config, model)}" if config.model.name and config.layers is None else ""


def _with(name: str, changes: Mapping[str, Any]) -> str:
    said = ", ".join(f"{path} {value}" for path, value in _changes(changes))
    return f"{name} with {said}" if said else name


def _changes(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """By dotted path; of a figure written out its value, of a part its name."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and "value" in value:
            yield prefix + key, value["value"]
        elif isinstance(value, Mapping):
            yield from _changes(value, f"{prefix}{key}.")
        else:
            yield (prefix + key).removesuffix(".name"), value


def _find(key: str, kind: str, choice: Choice) -> ModuleType:
    try:
        module = registry.find(kind, choice.name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
    if choice.params:
        given = next(iter(choice.params))
        raise ConfigError(f"{key}: {choice.name!r} takes no parameter {given!r}")
    return contracts.held(kind, module)
