"""What people are told of one run beside its results, and how a config becomes its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from prefetch_sim.experiments.text import size
from prefetch_sim.sim.config import files
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree
from prefetch_sim.sim.config.foreign import PolicyError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.run import run_inputs
from prefetch_sim.sim.setup import engine_choice
from prefetch_sim.sim.setup import inputs as read
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.traces import load_workload
from prefetch_sim.traces.trace import DECODE, request_bounds

# Layer-steps of a run that is simulated a second time, without prediction: some 20 s, at most.
_AGAIN = {"simpy": 250_000, "compiled": 25_000_000}
HARDLY_MORE = 1.05  # laps: from there on a perfect predictor gains as in a larger cache


def of_one_run(tree: Tree, where: str, instead: str) -> Tree:
    """``tree`` without its sweep, which may be none; ``instead``: what takes one that is.

    Raises ConfigError.
    """
    if tree.get("sweep") is not None:
        raise ConfigError(f"{where}: sweep: this config is a sweep; {instead}")
    return {key: value for key, value in tree.items() if key != "sweep"}


def checked(tree: Tree, where: str) -> Inputs:
    """The inputs of a config. Every error begins with ``where``."""
    try:
        return read.load(files.parse(tree, where))
    except PolicyError:  # it says where
        raise
    except ConfigError as error:
        message = str(error)
        prefix = "" if message.startswith(f"{where}: ") else f"{where}: "
        raise ConfigError(prefix + message) from error


def without(inputs: Inputs) -> dict[str, Any] | None:
    """The results of the same run with nothing predicted, where it predicts.

    None too where that would take long, or a policy of the user's own fails in it.
    """
    if not inputs.predictors:
        return None
    config = inputs.config.model_copy(update={"predictor": ()})
    try:
        bare = read.load(config)  # anew: what a policy in a file remembers is of the run before
        if engine_choice.layer_steps(bare) > _AGAIN[engine_choice.choose(bare)]:
            return None
        return run_inputs(bare)
    except ConfigError:
        return None


def doubts(inputs: Inputs, of: str = "") -> Iterator[str]:
    """What is likely no intention, a line each; ``of`` is said first."""
    yield from (f"{of}{note}" for note in inputs.notes)
    trace = inputs.workload.trace
    if inputs.config.requests is None and trace.missing:
        requests = f"{trace.missing:,} requests to come"
        yield f"warning: {of}the trace is of an unfinished capture: {requests}"
    if no_decode(inputs):
        why = why_no_decode(inputs.config)
        yield f"warning: {of}no decode token is run, so there is no TPOT: {why}"
    lap = sum(inputs.sizes) * inputs.workload.top_k
    capacity = sum(inputs.cache_bytes)
    if capacity < lap:
        lru = inputs.config.cache.eviction.name == "lru"
        yield (
            f"warning: {of}the cache ({size(capacity)}) is below one lap, {inputs.workload.layers} "
            f"layers x top-{inputs.workload.top_k} ({size(lap)}): it cannot hold what one token "
            "uses" + (", and LRU keeps none of it for the next" if lru else "")
        )
    elif inputs.predictors and capacity < HARDLY_MORE * lap:
        yield (
            f"warning: {of}the cache ({size(capacity)}) is hardly more than one lap ({size(lap)}): "
            "what is prefetched takes the place of what the token uses next"
        )


def silent(found: Mapping[str, Any]) -> list[str]:
    """Predictors that named nobody in a run with output tokens; ``found`` are its results."""
    if found["tpot_ms"]["mean"] is None:
        return []
    return [name for name, quality in found["predictors"].items() if quality.get("predicted") == 0]


def said_nothing(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each predictor that named nobody."""
    for name in silent(found):
        yield f"warning: the predictor {name!r} said nothing in the whole run"


def no_decode(inputs: Inputs) -> bool:
    """Whether all tokens of the run are of prompts."""
    trace = inputs.workload.trace
    return bool(trace.tokens) and not (trace.phase == DECODE).any()


def why_no_decode(config: RunConfig) -> str:
    """What leaves a config without output tokens. Its trace is read once more, whole."""
    if not config.tokens:
        return "the trace is of prompts alone"
    trace = load_workload(config.model_copy(update={"tokens": None})).trace
    if not (trace.phase == DECODE).any():
        return "the trace is of prompts alone"
    bounds = request_bounds(trace.request_id)
    prompts = np.add.reduceat(trace.phase != DECODE, bounds[:-1], dtype=int)
    least, most = int(prompts.min()), int(prompts.max())
    long = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"tokens: {config.tokens} ends within the prompts, which are {long} tokens long"


def headline(inputs: Inputs, measured_on: str = "") -> str:
    """What runs, in a line; of prefetch, the policy where it is not the one that most have.

    ``measured_on``: the machine that a replay ran on, which need not be the config's.
    """
    config, given = inputs.config, inputs.as_given
    names = " + ".join(name for name, _, _ in inputs.predictors) or "none"
    policy = config.prefetch.policy
    policy = f", prefetch {policy}" if inputs.predictors and policy != "top-k" else ""
    where = f"on {given['hardware']}"
    if measured_on:
        where = f"measured on {measured_on}, with the tiers of {given['hardware']}"
    return (
        f"{config.name}: {given['model']} {where}, runtime {given['runtime']}, "
        f"predictor {names}{policy}, {config.cache.eviction.name} in "
        f"{size(sum(inputs.cache_bytes))}"
    )
