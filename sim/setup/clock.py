"""Checks that a run ends before the clock does: integers of 64 bits, in ns, hold 292 years."""

from __future__ import annotations

from collections.abc import Iterator

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.cost.reserve import longest
from prefetch_sim.sim.cost.transfers import HostLink
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.parts import cost_model, load_path

_MOST_NS = 2**62  # half of it, as loads that nobody needed come on top


def check(inputs: Inputs) -> None:
    """Raises ConfigError, naming what takes so long, where the run might be longer."""
    total = 0
    try:
        for what, times, ns in _parts(inputs):
            total += times * ns
            if total > _MOST_NS:
                raise ConfigError(_text(inputs, what, f"{ns / 1e9:.3g} s"))
    except OverflowError:
        raise ConfigError(_text(inputs, "a transfer, or an operator,", "for ever")) from None


def _text(inputs: Inputs, what: str, long: str) -> str:
    return (
        f"{what} takes {long} on {inputs.profile.name} with {inputs.runtime.name}: the run's clock "
        "would not hold that; look at what hardware and runtime were set to"
    )


def _parts(inputs: Inputs) -> Iterator[tuple[str, int, int]]:
    """(What, how often at most, ns at most)."""
    workload, cost, path = inputs.workload, cost_model(inputs), load_path(inputs)
    cost = cost.beside_loads or cost
    tokens, context = workload.trace.tokens, longest(workload)
    slots = tokens * workload.layers * workload.top_k
    size = max(inputs.sizes)
    for stage in path.stages:
        isolated = 0
        if isinstance(stage, HostLink):
            isolated = stage.chunk_ns(size, size, False, inputs.cpu_computes)
        yield "a load", slots, max(stage.load_ns(size), isolated)
    yield "bookkeeping", slots, max(cost.runtime.miss_ns)
    yield "an expert", slots, max(cost.expert_ns(layer, 1) for layer in range(workload.layers))
    for _, predictor, params in inputs.predictors:
        flops, nbytes = predictor.cost
        ns = cost.predictor_ns(flops, nbytes, context * workload.batch_size)
        if params.cost_us is not None:
            ns = round(params.cost_us * 1e3)
        yield "a predictor", tokens * workload.layers, ns
    if inputs.cpu_computes and cost.cpu is not None:
        alone = max(cost.cpu.expert_ns(layer, 1, True) for layer in range(workload.layers))
        yield "an expert on the CPU", slots, alone
        yield "handing experts to the CPU", tokens * workload.layers, cost.cpu.fixed_ns(1)
    for step in (cost.step("decode", [1], [context]), cost.step("prefill", [context], [0])):
        every_layer = step.gate_ns + step.moe_fixed_ns + step.shared_ns + cost.expert_launch_ns
        ns = sum(step.prologue_ns) + sum(step.attention_ns) + step.epilogue_ns
        yield "a step", tokens, ns + every_layer * workload.layers
