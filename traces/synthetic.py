"""Invented traces: routing of a chosen skew and reuse, for topologies that nobody recorded."""

from __future__ import annotations

import numpy as np

from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import (
    DECODE,
    MOST_ROUTED,
    PREFILL,
    Array,
    Trace,
    TraceError,
    TraceMeta,
)
from prefetch_sim.traces.validate import validate

MAX_SLOTS = 250_000_000  # routed slots: about 5 GB while they are made
_BLOCK = 1 << 21  # keys drawn at once; part of the result, as the order of draws depends on it


def synthesise(
    model: ModelSpec,
    *,
    requests: int,
    prompt: int,
    decode: int,
    skew: float,
    reuse: float,
    seed: int,
) -> Trace:
    """A trace of ``requests`` requests of ``prompt`` prefill and ``decode`` decode tokens each.

    In each layer the expert of popularity rank r (from 1; ranks are shuffled by layer) is drawn
    in proportion to ``r ** -skew``, without replacement. From a request's second token on, each
    expert of the previous token is kept with probability ``reuse`` and only the other slots are
    drawn. Kept experts come first, then drawn ones in the order of the draw. The same arguments
    give the same trace.
    """
    check_size(model, requests, prompt, decode)
    _check(skew, reuse)
    layers, experts, top_k = model.topology
    rng = np.random.Generator(np.random.Philox(seed))
    ranks = np.argsort(rng.random((layers, experts)), axis=1) + 1
    odds = (ranks.astype(np.float64) ** -skew).astype(np.float32)
    length = prompt + decode
    routed = np.empty((requests, length, layers, top_k), np.int16)
    together = max(1, _BLOCK // (layers * experts))
    for first in range(0, requests, together):
        _route(rng, odds, reuse, routed[first : first + together])
    made_by = (
        f"synthesise(requests={requests}, prompt={prompt}, decode={decode}, "
        f"skew={skew}, reuse={reuse}, seed={seed})"
    )
    return made_up(model, routed.reshape(-1, layers, top_k), requests, prompt, rng, made_by)


def made_up(
    model: ModelSpec,
    routed: Array,
    requests: int,
    prompt: int,
    rng: np.random.Generator,
    made_by: str,
) -> Trace:
    """The trace of ``routed`` [tokens, L, k], of requests of one length, with weights drawn."""
    length = len(routed) // requests
    shape = routed.shape
    shares = -np.sort(-rng.standard_exponential(shape, dtype=np.float32), axis=2)
    shares /= shares.sum(axis=2, keepdims=True)
    phase = np.where(np.arange(length) < prompt, PREFILL, DECODE).astype(np.int8)
    recorded = {
        "source": "synthetic: random numbers, no model was run",
        "made_by": made_by,
    }
    trace = Trace(
        path=None,
        meta=TraceMeta(model=model, recorded=recorded),
        request_id=np.repeat(np.arange(requests, dtype=np.int32), length),
        position=np.tile(np.arange(length, dtype=np.int32), requests),
        phase=np.tile(phase, requests),
        token_id=None,
        experts=routed,
        weights=shares.astype(np.float16),
    )
    validate(trace)
    return trace


def _route(rng: np.random.Generator, odds: Array, reuse: float, out: Array) -> None:
    """Fill ``out`` [requests, length, L, k], one position of all the requests at a time.

    Exponential variables over their odds, the k smallest: a draw without replacement (Efraimidis
    and Spirakis, 2006). A kept expert's key is below every drawn one.
    """
    requests, length, layers, top_k = out.shape
    for position in range(length):
        keys = rng.standard_exponential((requests, *odds.shape), dtype=np.float32)
        keys /= odds
        if position:
            before = out[:, position - 1].astype(np.intp)
            kept = rng.random((requests, layers, top_k), dtype=np.float32) < reuse
            drawn = np.take_along_axis(keys, before, axis=2)
            np.put_along_axis(keys, before, np.where(kept, -1 / (1 + drawn), drawn), axis=2)
        if top_k < odds.shape[1]:
            best = np.argpartition(keys, top_k - 1, axis=2)[:, :, :top_k]
        else:
            best = np.broadcast_to(np.arange(top_k), out[:, position].shape)
        order = np.argsort(np.take_along_axis(keys, best, axis=2), axis=2)
        out[:, position] = np.take_along_axis(best, order, axis=2)


def check_size(model: ModelSpec, requests: int, prompt: int, decode: int) -> None:
    """Raises TraceError where the trace would have no rows, or more than memory holds."""
    if requests < 1 or prompt < 0 or decode < 0 or prompt + decode < 1:
        raise TraceError(
            f"synthetic trace: {requests} requests of {prompt} + {decode} tokens have no rows"
        )
    layers, experts, top_k = model.topology
    if layers * experts > MOST_ROUTED:
        raise TraceError(
            f"synthetic trace: {layers:,} MoE layers x {experts:,} experts are more than "
            f"{MOST_ROUTED:,}"
        )
    slots = requests * (prompt + decode) * layers * top_k
    if slots > MAX_SLOTS:
        raise TraceError(
            f"synthetic trace: {requests} x {prompt + decode} tokens in {layers} layers of "
            f"top-{top_k} are {slots:,} routed slots, more than {MAX_SLOTS:,}"
        )


def _check(skew: float, reuse: float) -> None:
    if not 0 <= reuse <= 1:
        raise TraceError(f"synthetic trace: reuse {reuse} is not in 0..1")
    if not 0 <= skew < 10:
        raise TraceError(f"synthetic trace: skew {skew} is not in 0..10")
