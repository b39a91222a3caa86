"""Finds the trace of a config, reads it once and cuts it into steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
from prefetch_sim.sim.config.models import ModelError, load_model, with_figures
from prefetch_sim.sim.config.schema import RunConfig, SyntheticTrace
from prefetch_sim.sim.config.values import parse_slice
from prefetch_sim.sim.setup.capacities import per_expert
from prefetch_sim.sim.workload.mapped_arrays import mapped
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.cut import some_layers, some_tokens
from prefetch_sim.traces.errors import looked_for
from prefetch_sim.traces.format import Trace, TraceError, read_meta, read_trace
from prefetch_sim.traces.models import catalogue
from prefetch_sim.traces.models.precision import Precision
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.parts import part_paths
from prefetch_sim.traces.published import Cache, Drawn, read_loads, with_hit_rate, with_loads
from prefetch_sim.traces.samples import sample_path, samples
from prefetch_sim.traces.synthetic import synthesise

MODEL, TRACE = "gpt-oss-20b", "mini-gpt-oss"  # where a config says neither
REQUESTS, DECODE = 4, 64  # of made-up routing, where a config does not say


def with_trace(config: RunConfig) -> RunConfig:
    """``config``, where it names no trace with the bundled routing of its model's topology.

    Where it names no model either, with MODEL, whose sizes are a published model's. Raises
    ConfigError where no bundled trace routes as the model does.
    """
    if config.trace is not None:
        return config
    if config.model.name is None:
        named = config.model.model_copy(update={"name": MODEL})
        return config.model_copy(update={"model": named, "trace": TRACE})
    try:
        figures = {key: value for key, value in config.model.figures.items() if key != "top_k"}
        model = with_figures(load_model(config.model.name, config.precision), figures)
    except ModelError as error:
        raise ConfigError(f"model: {error}") from error
    sample = sample_of(model)
    if sample is None:
        raise ConfigError(
            f"trace: none is given, and no bundled one routes as {model.name} does, "
            f"{shape(model)}: {cure(config, model)}"
        )
    return config.model_copy(update={"trace": sample})


def cure(config: RunConfig, model: ModelSpec) -> str:
    """What to write for a trace of the config's ``model``."""
    made_up = f"{{synthetic: {config.model.name}}}"
    return f"write trace: {sample_of(model) or made_up}"


def sample_of(model: ModelSpec) -> str | None:
    """The bundled trace whose routing is of this model's topology."""
    known = [name for name, its in _topologies().items() if its == model.topology]
    return f"mini-{model.name}" if f"mini-{model.name}" in known else next(iter(known), None)


def shape(model: ModelSpec) -> str:
    """``24 MoE layers x 32 experts, top-4``."""
    layers, experts, k = model.topology
    return f"{layers} MoE layers x {experts} experts, top-{k}"


@cache
def _topologies() -> dict[str, tuple[int, int, int]]:
    return {name: read_meta(sample_path(name)).model.topology for name in samples()}


def trace_path(name: str) -> Path:
    """A bundled sample by name, or a path; a file called as a sample is ``./NAME``.

    Raises ConfigError where there is neither.
    """
    if name in samples():
        return sample_path(name)
    try:
        path = Path(name).expanduser()
        if path.exists():
            return path
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user's home, a NUL
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"trace: {name!r}: {reason}") from error
    looked = looked_for(path) if path.suffix or len(path.parts) > 1 else ""
    near = did_you_mean(name, [*samples(), *_beside(path, name)])
    raise ConfigError(f"trace: no file or sample {name!r}{looked}{near}")


def _beside(path: Path, name: str) -> Iterator[str]:
    """Files of the same kind in the folder of ``path``, as ``name`` would have them."""
    with suppress(OSError):
        for other in sorted(path.parent.iterdir()):
            if path.suffix and other.suffix == path.suffix:
                yield name.removesuffix(path.name) + other.name


def load_workload(config: RunConfig) -> Workload:
    if isinstance(config.trace, SyntheticTrace):
        return _made_up(config, config.trace)
    assert config.trace is not None  # see with_trace
    path = trace_path(config.trace).resolve()  # however it is spelled, it is read once
    stamp = _stamp(path)
    known = _predictions(path, stamp)
    # The trace's columns that the config's predictors read.
    wanted = (c.params.get("column", c.name) for c in config.predictor)
    recorded = sorted({name for name in wanted if isinstance(name, str) and name in known})
    parts = config.requests, config.tokens, config.layers
    reads = path, stamp, parts, tuple(recorded), config.model.top_k
    return _kept(_recorded, config.batch_size, *reads)


def _made_up(config: RunConfig, made: SyntheticTrace) -> Workload:
    for key in ("requests", "tokens", "layers"):
        if getattr(config, key) is not None:
            has = {"requests": "trace.requests", "tokens": "trace.decode"}.get(key, "its model's")
            raise ConfigError(f"{key}: a synthetic trace has {has}; give no slice")
    loads: tuple[int, ...] = ()
    precision = Precision()
    if made.synthetic not in catalogue.names():  # a file may leave it open
        precision = config.precision
    if made.published:  # it depends on the sizes of experts, and on the file
        if config.batch_size > 1:
            raise ConfigError(
                "batch_size: trace.hit_rate and loads_per_step are of one request at a time"
            )
        precision = config.precision
        if made.loads_per_step is not None:
            try:
                loads = read_loads(made.loads_per_step)
            except TraceError as error:
                raise ConfigError(f"trace.loads_per_step: {error}") from error
    try:
        model = load_model(made.synthetic, precision)
    except ModelError as error:
        raise ConfigError(f"trace.synthetic: {error}") from error
    how = made.model_copy(update={"synthetic": "", "loads_per_step": None})  # read already
    drawn = how, loads, model, precision, config.model.top_k
    return _kept(_synthetic, config.batch_size, *drawn)


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
    path: Path,
    stamp: tuple[int, ...],
    parts: tuple[str | None, str | None, str | None],
    predictions: tuple[str, ...],
    top_k: int | None,
) -> Trace:
    """``parts``: slices of requests, of tokens and of layers."""
    requests, tokens, layers = parts
    chosen = None if requests is None else parse_slice(requests)
    try:
        trace = read_trace(path, requests=chosen, predictions=predictions)
    except TraceError as error:
        raise ConfigError(f"trace: {error}") from error
    if chosen is not None and chosen.stop is not None:
        count = (chosen.start or 0) + len(trace.requests)  # if it ends before the slice does
        if count < chosen.stop:
            raise ConfigError(f"requests: {requests!r} ends past the trace's {count} requests")
    try:
        if tokens is not None:
            trace = some_tokens(trace, parse_slice(tokens))
        if layers is not None:
            trace = some_layers(trace, parse_slice(layers))
    except TraceError as error:
        raise ConfigError(str(error)) from error
    columns = {
        name: replace(p, experts=mapped(p.experts), scores=mapped(p.scores))
        for name, p in trace.predictions.items()
    }
    if top_k is not None:
        trace = _best(trace, top_k)
    # Weights are read to be checked; the simulator uses none.
    return replace(trace, weights=None, experts=mapped(trace.experts), predictions=columns)


def _best(trace: Trace, top_k: int) -> Trace:
    """As if each token had gone to the best ``top_k`` of its experts alone."""
    if top_k > trace.model.top_k:
        raise ConfigError(
            f"model.top_k: {top_k} exceeds the {trace.model.top_k} experts a token that the trace "
            "records"
        )
    model = trace.model.model_copy(update={"top_k": top_k})
    meta = trace.meta.model_copy(update={"model": model})
    return replace(trace, meta=meta, experts=np.ascontiguousarray(trace.experts[:, :, :top_k]))


def _synthetic(
    p: SyntheticTrace,
    loads: tuple[int, ...],
    model: ModelSpec,
    precision: Precision,
    top_k: int | None,
) -> Trace:
    try:
        model = with_figures(model, {} if top_k is None else {"top_k": top_k})
    except ModelError as error:
        raise ConfigError(f"model: {error}") from error
    requests, decode = p.requests or REQUESTS, p.decode or DECODE
    drawn = Drawn(p.prompt, p.skew, p.reuse, p.seed)
    try:
        if p.at is None:
            return synthesise(model, requests=requests, decode=decode, **drawn._asdict())
        sizes = list(model.bytes_per_expert(precision))
        cache = Cache(sizes, p.at.resolve(per_expert(model, sizes), 0))
        if p.hit_rate is None:
            return with_loads(model, cache, loads, drawn)
        return with_hit_rate(model, cache, p.hit_rate, requests, decode, drawn)
    except TraceError as error:
        raise ConfigError(f"trace: {error}") from error
