"""Makes the kernel's tables of a load path, and of what is loaded over it."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefetch_sim.sim.compiled.arrays import (
    CLASSES,
    FAR,
    STAGES,
    Bytes,
    Lane,
    Link,
    Load,
    Loader,
    LoadPath,
    Node,
    Server,
    Setup,
    Tier,
)
from prefetch_sim.sim.compiled.tiers import make_tier
from prefetch_sim.sim.cost import transfers
from prefetch_sim.sim.engine.tier import Tier as PlainTier
from prefetch_sim.sim.eviction import lru
from prefetch_sim.sim.jit.rows import table


def _links(path: transfers.LoadPath) -> Any:
    """``LoadPath.links``."""
    links = table(Link, len(path.stages))
    for link, stage in zip(links, path.stages):
        if isinstance(stage, transfers.Storage):
            link.storage, link.latency_ns = True, stage.latency_ns
        link.chunk, link.lanes = stage.chunk or 0, stage.lanes
    return links


def make_loader(s: Setup, path: transfers.LoadPath) -> Loader:
    n = s.layers * s.experts
    queue = table(Node, STAGES * (CLASSES + n), before=-1, after=-1)
    ring = np.arange(CLASSES * STAGES).reshape(CLASSES, STAGES)  # a column is a stage's
    queue.after[ring], queue.before[ring] = np.roll(ring, -1, 0), np.roll(ring, 1, 0)
    free_at = [0 if isinstance(stage, transfers.Storage) else -1 for stage in path.stages]
    return Loader(
        loads=table(Load, n),
        unused=np.zeros(n, dtype=np.int8),
        queue=queue,
        servers=table(Server, s.stages, free_at=free_at),
        cancelled=np.zeros(n, dtype=np.int64),
        arrived=np.zeros(s.experts, dtype=np.int64),
    )


def make_path(
    path: transfers.LoadPath, host: PlainTier | None, cache: Tier, slows: bool
) -> LoadPath | None:
    """What it has beyond one host link that moves experts whole, if anything.

    ``slows``: loads slow down what computes meanwhile.
    """
    links = _links(path)
    first, stages = links[0], len(links)
    whole = stages == 1 and not first.storage and (first.chunk or FAR) >= cache.size.max()
    if whole and not slows:
        return None
    width = 1 << (int(links.lanes.max()) - 1).bit_length()
    return LoadPath(
        host=cache if host is None else make_tier(host, lru),
        width=width,
        links=links,
        bytes=table(Bytes, (stages, len(cache.size))),
        lanes=table(Lane, (stages, width)),
    )
