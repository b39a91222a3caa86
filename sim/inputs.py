"""From a config to the things it names: trace, model, hardware, policies. Every check is here.

Nothing runs before all of it holds; each error is one line that names the key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from pydantic import ValidationError

from hardware_profiles import HardwareError, HardwareProfile, load_profile, override
from sim import registry
from sim.config import Choice, RunConfig, SyntheticTrace, parse_slice
from sim.errors import ConfigError, did_you_mean
from sim.models import ModelError, load_model
from sim.predictors.base import Context, Predictor, PredictorParams
from sim.reserve import Reserve, reserve
from sim.shared import shared
from sim.workload import Workload
from traces.errors import describe
from traces.format import Trace, TraceError, read_meta, read_trace
from traces.model import ModelSpec
from traces.parts import part_paths
from traces.samples import sample_path, samples
from traces.synthetic import synthesise


@dataclass(frozen=True)
class Inputs:
    """What one run is made of."""

    config: RunConfig
    workload: Workload
    model: ModelSpec
    profile: HardwareProfile
    eviction: ModuleType
    policy: ModuleType
    predictors: tuple[tuple[str, Predictor, PredictorParams], ...]
    sizes: list[int]  # bytes of one expert, by MoE layer
    cache_bytes: list[int]  # by partition
    host_bytes: int | None  # None: every expert is in host memory


def load(config: RunConfig) -> Inputs:
    """Read and check all that ``config`` names. Raises ConfigError."""
    workload = _workload(config)
    trace_model = workload.trace.meta.model
    try:
        model = load_model(config.model) if config.model else trace_model
        profile = load_profile(config.hardware.name)
        profile = override(profile, dict(_flatten(config.hardware.params)))
    except (ModelError, HardwareError) as error:
        key = "model" if isinstance(error, ModelError) else "hardware"
        raise ConfigError(f"{key}: {error}") from error
    if model.topology != trace_model.topology:
        raise ConfigError(
            f"model: {model.name} routes {_shape(model)}, "
            f"but the trace was recorded on {trace_model.name} with {_shape(trace_model)}"
        )
    if config.prefetch.extra > model.experts:
        extra = config.prefetch.extra
        raise ConfigError(f"prefetch.extra: {extra} exceeds the {model.experts} experts of a layer")
    sizes = list(model.bytes_per_expert(config.precision))
    eviction = _find("cache.eviction", "eviction", config.cache.eviction)
    policy = _find("prefetch.policy", "prefetch", Choice(name=config.prefetch.policy))
    return Inputs(
        config,
        workload,
        model,
        profile,
        eviction,
        policy,
        tuple(_predictor(config, workload, model, i, c) for i, c in enumerate(config.predictor)),
        sizes,
        _cache_bytes(config, model, sizes, profile, reserve(model, workload, config.precision)),
        _host_bytes(config, model, sizes, profile),
    )


def _shape(model: ModelSpec) -> str:
    layers, experts, k = model.topology
    return f"{layers} MoE layers x {experts} experts, top-{k}"


def _flatten(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """By dotted path. A figure written out, with its value, kind and source, stays whole."""
    flat: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict) and "value" not in value:
            flat += _flatten(value, f"{prefix}{key}.")
        else:
            flat.append((prefix + key, value))
    return flat


def _find(key: str, kind: str, choice: Choice) -> ModuleType:
    try:
        module = registry.find(kind, choice.name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
    if choice.params:
        given = next(iter(choice.params))
        raise ConfigError(f"{key}: {choice.name!r} takes no parameter {given!r}")
    return module


# Traces


def trace_path(name: str) -> Path:
    """A bundled sample by name, or a path. Raises ConfigError where there is neither."""
    path = Path(name).expanduser()
    if path.exists():
        return path
    if name in samples():
        return sample_path(name)
    raise ConfigError(f"trace: no file or sample {name!r}{did_you_mean(name, samples())}")


def _workload(config: RunConfig) -> Workload:
    if isinstance(config.trace, SyntheticTrace):
        return _kept(_synthetic, config.batch_size, config.trace.model_dump_json(), config.requests)
    path = trace_path(config.trace)
    stamp = _stamp(path)
    known = _predictions(path, stamp)
    # The trace's columns that the config's predictors replay.
    wanted = (c.params.get("column", c.name) for c in config.predictor)
    recorded = sorted({name for name in wanted if isinstance(name, str) and name in known})
    return _kept(_recorded, config.batch_size, path, stamp, config.requests, tuple(recorded))


@lru_cache(maxsize=2)
def _kept(read: Callable[..., Trace], batch_size: int, *arguments: Any) -> Workload:
    """The workload of ``read(*arguments)``: a process has the last two, and all of their memos."""
    return Workload(read(*arguments), batch_size)


def _stamp(path: Path) -> tuple[int, ...]:
    """When each file of the trace was written, so that an edited one is read again."""
    parts = part_paths(path) if path.is_dir() else [path]
    return tuple(part.stat().st_mtime_ns for part in parts)


@lru_cache(maxsize=8)
def _predictions(path: Path, stamp: tuple[int, ...]) -> frozenset[str]:
    try:
        return frozenset(read_meta(path).predictions)
    except TraceError as error:
        raise ConfigError(f"trace: {error}") from error


def _recorded(
    path: Path, stamp: tuple[int, ...], requests: str | None, predictions: tuple[str, ...]
) -> Trace:
    chosen = None if requests is None else parse_slice(requests)
    try:
        trace = read_trace(path, requests=chosen, predictions=predictions)
    except TraceError as error:
        raise ConfigError(f"trace: {error}") from error
    if chosen is not None and chosen.stop is not None:
        count = (chosen.start or 0) + len(trace.requests)  # if it ends before the slice does
        if count < chosen.stop:
            raise ConfigError(f"requests: {requests!r} ends past the trace's {count} requests")
    columns = {
        name: replace(p, experts=shared(p.experts), scores=shared(p.scores))
        for name, p in trace.predictions.items()
    }
    # Weights are read to be checked; the simulator uses none.
    return replace(trace, weights=None, experts=shared(trace.experts), predictions=columns)


def _synthetic(parameters: str, requests: str | None) -> Trace:
    if requests is not None:
        raise ConfigError("requests: a synthetic trace has trace.requests; give no slice")
    p = SyntheticTrace.model_validate_json(parameters)
    try:
        model = load_model(p.synthetic)
    except ModelError as error:
        raise ConfigError(f"trace.synthetic: {error}") from error
    try:
        return synthesise(
            model,
            requests=p.requests,
            prompt=p.prompt,
            decode=p.decode,
            skew=p.skew,
            reuse=p.reuse,
            seed=p.seed,
        )
    except TraceError as error:
        raise ConfigError(f"trace: {error}") from error


# Predictors


def _predictor(
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
            raise ConfigError(f"{name!r}: its Params are no sim.predictors.base.PredictorParams")
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


# Capacities


def _per_expert(model: ModelSpec, sizes: list[int]) -> list[int]:
    return np.repeat(sizes, model.experts).tolist()


def _cache_bytes(
    config: RunConfig,
    model: ModelSpec,
    sizes: list[int],
    profile: HardwareProfile,
    beside: Reserve,
) -> list[int]:
    total = config.cache.capacity.resolve(_per_expert(model, sizes))
    memory = profile.compute.memory_gib.value
    if total + beside.total > memory * 2**30:
        raise ConfigError(
            f"cache.capacity: {total / 2**30:.2f} GiB do not fit in the {memory:g} GiB of "
            f"{profile.name} beside {beside.weights / 2**30:.2f} GiB of other weights and "
            f"{beside.kv_cache / 2**30:.2f} GiB of KV cache"
        )
    whole = sum(sizes) * model.experts
    if config.cache.scope == "global":
        capacities, needed = [total], [max(sizes) * model.top_k]
    else:
        capacities = [total * size * model.experts // whole for size in sizes]
        needed = [size * model.top_k for size in sizes]
    for layer, (has, needs) in enumerate(zip(capacities, needed)):
        if has < needs:
            where = "" if config.cache.scope == "global" else f" in layer {layer}"
            raise ConfigError(
                f"cache.capacity: {has / 2**20:.1f} MiB{where} cannot hold one layer's "
                f"top-{model.top_k} ({needs / 2**20:.1f} MiB)"
            )
    return capacities


def _host_bytes(
    config: RunConfig, model: ModelSpec, sizes: list[int], profile: HardwareProfile
) -> int | None:
    capacity = config.host.capacity.resolve(_per_expert(model, sizes))
    everything = sum(sizes) * model.experts
    if profile.host is None:
        if capacity < everything:
            raise ConfigError(
                f"host.capacity: {profile.name} has one memory, which the cache is in; "
                "storage is right below it"
            )
        return None
    memory = profile.host.memory_gib.value
    if min(capacity, everything) > memory * 2**30:
        raise ConfigError(
            f"host.capacity: {min(capacity, everything) / 2**30:.1f} GiB of experts exceed the "
            f"{memory:g} GiB of {profile.name}'s host memory; set host.capacity below that"
        )
    if capacity >= everything:
        return None
    if capacity < max(sizes):
        raise ConfigError(f"host.capacity: {capacity / 2**20:.1f} MiB cannot hold one expert")
    return capacity
