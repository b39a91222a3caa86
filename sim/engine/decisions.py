"""Decides at a layer's routing and when a prediction comes out: told the time, it has no clock.

What is pinned, hit, promoted, demanded, cancelled and proposed follows the order of docs/timing.md.
The simulated forward pass asks for it, and a pass on a real device can.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import ModuleType

from prefetch_sim.sim.cost.transfers import LoadPath
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.prefetch.base import Limits


class Decisions:
    """Says what is pinned, hit, demanded, cancelled and proposed. Layer-steps count MoE layers.

    ``limits`` has what the policy may go by whatever the time; ``several``: more than one predictor
    speaks, so a later prediction corrects an earlier one; ``behind``: what the CPU computes is
    loaded too.
    """

    def __init__(
        self,
        loader: Loader,
        path: LoadPath,
        policy: ModuleType,
        limits: Limits,
        *,
        cancel_stale: bool,
        several: bool,
        behind: bool = False,
    ) -> None:
        self.timed = getattr(policy, "TIMED", False)
        self._loader, self._cache, self._path = loader, loader.cache, path
        self._propose, self._limits = policy.propose, limits
        self._layers = loader.cache.layers
        self._cancel_stale, self._several = cancel_stale, several
        self._behind = behind
        loader.cancels = cancel_stale
        total = len(loader.cache.sizes)
        self._seen, self._stamp = [0] * total, 0
        self._out, self._priority = [0] * total, [0] * total
        self._routed_until = -1  # last layer-step whose routing is known

    def routed(
        self,
        layer_step: int,
        routed: Sequence[int],
        pinned: Collection[int],
        now: int,
        on_cpu: Collection[int] = (),
    ) -> tuple[int, int]:
        """``layer_step`` is routed to ``routed``; returns (hits, loads that a prefetch had begun).

        ``pinned`` are the same experts, as a collection that is quick to look into; ``on_cpu``
        further ones, which the CPU computes.
        """
        loader, cache, layer = self._loader, self._cache, layer_step % self._layers
        self._routed_until = cache.now = layer_step
        if loader.host is not None:
            loader.host.now = layer_step
        cache.pinned = pinned
        loader.unpin_at = -1
        loader.computed.clear()
        if loader.queued[layer] and self._cancel_stale:
            loader.cancel(layer, {*pinned, *on_cpu} if on_cpu else pinned, now)
        hits, late = loader.demand(routed, now)
        if on_cpu:
            if loader.host is not None:
                loader.host.use(on_cpu)
            if self._behind:
                loader.demand_behind(on_cpu, now)
        if cache.hears_not_routed:
            cache.routed(layer, pinned)
        return hits, late

    def predicted(
        self,
        layer_step: int,
        predictor: int,
        ids: Sequence[int],
        scores: Sequence[float],
        tokens: int,
        lead_ns: int,
        now: int,
    ) -> None:
        """A prediction for ``layer_step`` is out: correct earlier ones, propose, protect residents.

        ``ids`` and ``scores``: see ``prefetch.base``. ``lead_ns``: from now until the layer is
        expected to be routed, which timed policies alone read.
        """
        if layer_step <= self._routed_until:
            return  # too late: the layer is routed already
        loader, layer = self._loader, layer_step % self._layers
        if self._cancel_stale and self._several:
            loader.cancel(layer, set(ids), now)
        self._stamp += 1
        limits = self._limits
        if self.timed:
            limits = limits._replace(
                lead_ns=lead_ns,
                backlog_ns=self._path.backlog_ns(loader.outstanding),
                load_ns=self._path.load_ns[layer],
            )
        count = self._propose(
            ids,
            scores,
            tokens,
            limits,
            self._cache.resident,
            self._seen,
            self._stamp,
            self._out,
            self._priority,
        )
        proposed = self._out[:count]
        loader.propose(proposed, self._priority, now, layer_step, predictor)
        if self._cache.hears_predictions:
            self._cache.predict(proposed)
