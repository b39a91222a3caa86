"""Least-Stale, after SpecMD (arXiv 2602.03921): stale experts first, then by layer order.

Layers run in a fixed order, so an expert of the layer just run is needed again a whole pass
later, one of a layer still ahead much sooner; LRU evicts exactly the latter. Order of leaving:

1. stale: its layer was routed without it since its last use, longest unused first;
2. its layer has already run in this pass, earliest layer first;
3. its layer is still ahead in this pass.

SpecMD publishes no code: the order inside each group is our reading of it.
"""

from __future__ import annotations

from prefetch_sim.sim.eviction.base import LAYERS, WIDTH, State

STALE = -(1 << 50)  # below every score of a fresh expert


def _fresh(state: State, x: int, now: int) -> int:
    layers = state.shared[LAYERS]
    layer = x // state.shared[WIDTH]
    latest_pass = now // layers - (layer > now % layers)  # pass in which its layer last ran
    return -latest_pass * layers + layer


def inserted(state: State, x: int, now: int) -> int:
    return _fresh(state, x, now)


def used(state: State, x: int, now: int, score: int) -> int:
    return _fresh(state, x, now)


def not_routed(state: State, x: int, now: int, score: int) -> int:
    return score if score <= STALE // 2 else STALE + now
