"""Residency without time: a sequence of routed sets through one cache, on demand only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sim.memory import Tier


def replay(tier: Tier, sets: Iterable[tuple[int, Sequence[int]]]) -> Iterator[int]:
    """Feed (layer-step number, routed set) pairs to ``tier``; how many experts each misses.

    A set larger than the cache streams through, as it does in the engine.
    """
    for now, routed in sets:
        tier.now = now
        misses = [x for x in routed if not tier.resident[x]]
        pinned = set(routed)
        tier.pinned = pinned
        tier.use([x for x in routed if tier.resident[x]])
        streaming = bool(misses) and not tier.fits(routed)
        if streaming:
            pinned.difference_update(x for x in routed if tier.resident[x])
        for x in misses:
            tier.reserve(x)
            tier.insert(x, used=True)
            if streaming:
                pinned.discard(x)
        tier.routed(now % tier.layers, routed)
        tier.pinned = ()
        yield len(misses)
