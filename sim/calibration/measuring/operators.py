"""Operators of a layer in the shapes of real models: the replay's own products, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from prefetch_sim.sim.calibration.measuring.bench import Bench, several
from prefetch_sim.sim.calibration.operators import Launches, Operator
from prefetch_sim.sim.calibration.samples import Samples
from prefetch_sim.sim.cost.attention import AttentionWork
from prefetch_sim.sim.replay.device import Work
from prefetch_sim.sim.replay.products import Products, mlp
from prefetch_sim.sim.replay.weights import DTYPES, Layout
from prefetch_sim.sim.workload.step import Step
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.models.weights import Weights
from prefetch_sim.traces.synthetic import synthesise

_IN_A_GRAPH = 16  # operators
_WARM = 2  # rounds before any that counts


class Sizes(NamedTuple):
    """What is measured of each model. ``pool``: bytes of experts that take turns."""

    contexts: Sequence[int]
    tokens: Sequence[int]
    repeats: int
    pool: int
    layers: int  # whose attention takes turns
    head: bool


class _Job(NamedTuple):
    """An operator to measure, after as many tokens as are cached."""

    name: str
    size: int
    weights: float  # how many take part, once for each token
    nbytes: float
    run: Work
    cached: int = 0


def measure(
    bench: Bench, model: ModelSpec, sizes: Sizes, captured: Callable[[Work], Work] | None = None
) -> list[Operator]:
    """Each operator of a layer of ``model``, decoding one token of one request.

    They take turns, as in a layer, so that a machine that slows down slows down all of them.
    ``captured`` makes a graph of each, where it is that which is measured: then they do not.
    """
    few = model.model_copy(
        update={"layers": sizes.layers, "dense_layers": (), "expert_bytes": None}
    )
    products = _products(bench, few, max(sizes.contexts) + 2)

    def prepare(job: _Job) -> None:
        products.begin(_step(job.cached))
        products.norm()

    jobs = _jobs(bench, few, sizes, products)
    found: list[list[float]] = [[] for _ in jobs]
    if captured is None:
        for _ in range(_WARM + sizes.repeats):
            for job, times in zip(jobs, found):
                prepare(job)
                times.append(bench.once_us(job.run))
    else:
        for job, times in zip(jobs, found):
            prepare(job)
            unit = captured(several(job.run, _IN_A_GRAPH))  # in which weights take turns too
            for _ in range(_WARM + sizes.repeats):
                times.append(bench.once_us(unit) / _IN_A_GRAPH)
    return [
        Operator(
            model.name, job.name, job.size, job.nbytes, 2.0 * job.weights, Samples.of(times[_WARM:])
        )
        for job, times in zip(jobs, found)
    ]


def _jobs(bench: Bench, model: ModelSpec, sizes: Sizes, products: Products) -> list[_Job]:
    precision = next(name for name, dtype in DTYPES.items() if dtype is bench.dtype)
    stored = Weights.of(model, precision)
    hidden, routed = model.hidden, list(range(model.top_k))
    kv_bytes = AttentionWork.of(model.attention, hidden, "decode", stored.kv).kv_bytes
    gate, shared = hidden * model.experts, 3 * hidden * model.shared_hidden * model.shared_experts
    layout = Layout(max(2, sizes.pool // stored.experts[0]), hidden, model.expert_hidden, precision)
    turn, rank = itertools.cycle(range(model.moe_layers)), itertools.cycle(routed)
    experts = _experts(bench, layout)
    x = bench.random(1, hidden)
    for matrices in experts:  # what was written last is read slower the first time
        bench.once_us(lambda matrices=matrices: drop(mlp(x, matrices)))  # type: ignore[misc]
    pool = itertools.cycle(experts)

    def attention() -> None:
        products.attention(next(turn))

    def several_tokens(tokens: int) -> Work:
        x = bench.random(tokens, hidden)
        return lambda: drop(mlp(x, next(pool)))

    products.begin(_step(0))
    products.norm()
    products.shared(0, routed)  # makes room for what experts give
    jobs = [_Job("norm", 1, 0, 0, products.norm)]
    for context in sizes.contexts:
        nbytes = stored.attention[0] + context * kv_bytes
        jobs.append(_Job("attention", context, 0, nbytes, attention, context))
    jobs.append(_Job("gate", 1, gate, stored.gate, lambda: products.gate(next(turn))))
    if shared:
        run: Work = lambda: products.shared(next(turn), routed)  # noqa: E731
        jobs.append(_Job("shared", 1, shared, stored.shared[0], run))
    size, weights = layout.nbytes, layout.elements
    one: Work = lambda: products.expert(next(rank), next(pool))  # noqa: E731
    jobs.append(_Job("expert", 1, weights, size, one))
    for tokens in sizes.tokens:
        jobs.append(_Job("expert", tokens, weights * tokens, size, several_tokens(tokens)))
    jobs.append(_Job("combine", 1, 0, 0, lambda: products.combine(0)))
    if sizes.head:
        jobs.append(_Job("head", 1, hidden * model.vocab, stored.head, products.head))
    return jobs


def drop(_: object) -> None:
    """What comes of a product is nobody's."""


def _products(bench: Bench, model: ModelSpec, longest: int) -> Products:
    trace = synthesise(model, requests=1, prompt=1, decode=1, skew=0.0, reuse=0.0, seed=0)
    device = torch.device(bench.where)
    return Products(model, Workload(trace, 1), bench.dtype, device, seed=0, longest=longest)


def _step(context: int) -> Step:
    return Step(0, False, (0,), (1,), (1,), (context,))


def _experts(bench: Bench, layout: Layout) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Experts of the device's memory, where a load would put them."""
    memory = bench.memory(layout.experts * layout.stride, "device")
    memory.view(bench.dtype).uniform_(-0.05, 0.05)
    return [layout.matrices(slot) for slot in memory.view(layout.experts, layout.stride)]


def launches(bench: Bench, repeats: int, many: int = 200) -> Launches:
    """Of the smallest operator there is."""
    x = bench.random(1024)

    unit = several(lambda: drop(x.add_(1.0)), many)
    eager = bench.timed(unit, repeats).through(lambda us: us / many)
    graph = None
    if bench.captured is not None:
        graph = bench.timed(bench.captured(unit), repeats).through(lambda us: us / many)
    return Launches(eager, graph)
