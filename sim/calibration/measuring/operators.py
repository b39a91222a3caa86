"""Operators of a layer in the shapes of real models: the replay's own products, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
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


class Sizes(NamedTuple):
    """What is measured of each model. ``pool``: bytes of experts that take turns."""

    contexts: Sequence[int]
    tokens: Sequence[int]
    repeats: int
    pool: int
    layers: int  # whose attention takes turns
    head: bool


def measure(
    bench: Bench, model: ModelSpec, sizes: Sizes, captured: Callable[[Work], Work] | None = None
) -> Iterator[Operator]:
    """Each operator of a layer of ``model``, decoding one token of one request.

    ``captured`` makes a graph of each, where it is that which is measured.
    """
    precision = next(name for name, dtype in DTYPES.items() if dtype is bench.dtype)
    few = model.model_copy(
        update={"layers": sizes.layers, "dense_layers": (), "expert_bytes": None}
    )
    products = _products(bench, few, max(sizes.contexts) + 2)
    stored = Weights.of(few, precision)
    hidden, k = model.hidden, model.top_k
    work = AttentionWork.of(model.attention, hidden, "decode", stored.kv)
    shared = 3 * hidden * model.shared_hidden * model.shared_experts

    def of(name: str, size: int, weights: float, nbytes: float, run: Work) -> Operator:
        us = _timed(bench, run, sizes.repeats, captured)
        return Operator(model.name, name, size, nbytes, 2.0 * weights, us)

    turn = itertools.cycle(range(few.moe_layers))
    products.begin(_step(0))
    yield of("norm", 1, 0, 0, products.norm)
    for context in sizes.contexts:
        products.begin(_step(context))
        products.norm()
        nbytes = stored.attention[0] + context * work.kv_bytes
        yield of("attention", context, 0, nbytes, lambda: products.attention(next(turn)))
    gate = hidden * model.experts
    yield of("gate", 1, gate, stored.gate, lambda: products.gate(next(turn)))
    routed = list(range(k))
    products.shared(0, routed)
    if shared:
        run: Work = lambda: products.shared(next(turn), routed)  # noqa: E731
        yield of("shared", 1, shared, stored.shared[0], run)
    yield of("combine", 1, 0, 0, lambda: products.combine(0))
    products.begin(_step(0))  # what went through as many layers as there were repeats is no input
    products.norm()
    products.shared(0, routed)
    layout = Layout(max(2, sizes.pool // stored.experts[0]), hidden, model.expert_hidden, precision)
    pool, rank = itertools.cycle(_experts(bench, layout)), itertools.cycle(routed)
    size, weights = layout.nbytes, layout.elements
    yield of("expert", 1, weights, size, lambda: products.expert(next(rank), next(pool)))
    for tokens in sizes.tokens:
        x = bench.random(tokens, hidden)
        many: Work = lambda x=x: drop(mlp(x, next(pool)))  # type: ignore[misc]  # noqa: E731
        yield of("expert", tokens, weights * tokens, size, many)
    if sizes.head:
        yield of("head", 1, hidden * model.vocab, stored.head, products.head)


def _timed(
    bench: Bench, run: Work, repeats: int, captured: Callable[[Work], Work] | None
) -> Samples:
    """A graph holds several, so that weights take turns in it too."""
    if captured is None:
        return bench.timed(run, repeats)

    unit = captured(several(run, _IN_A_GRAPH))
    return bench.timed(unit, repeats).through(lambda us: us / _IN_A_GRAPH)


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
