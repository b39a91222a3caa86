"""A load brings one expert into the cache, and ends in one of a few ways.

Each proposal of a prefetch ends in exactly one disposition:

- timely: resident when its layer was routed, and used;
- late: still queued or moving when it was needed, promoted to a demand load;
- useless: landed but evicted unused, or never used;
- redundant: already resident, queued or moving when proposed;
- cancelled: withdrawn while queued, or queued when the run ended;
- dropped: no room could be made for it.

A load behind brings what the CPU computes meanwhile. It is no prefetch, and not counted as one.
"""

from __future__ import annotations

from dataclasses import dataclass

ORIGINS = ("demand", "prefetch", "behind")
DEMAND, PREFETCH, BEHIND = range(3)
# A load's key: demand first, then prefetches by priority, then loads behind; each by layer-step.
DEMAND_KEY, PREFETCH_KEY, PRIORITY, BEHIND_KEY = 0, 1 << 60, 1 << 48, 1 << 61
DISPOSITIONS = ("timely", "late", "useless", "redundant", "cancelled", "dropped")
TIMELY, LATE, USELESS, REDUNDANT, CANCELLED, DROPPED = range(6)
# How others end in the records: a demand was needed, a load behind has landed before it was.
DEMANDED, ARRIVED = 6, 7


@dataclass(slots=True, eq=False)
class Load:
    """One expert, queued or moving. Times in ns, -1 where not reached; bytes by stage."""

    expert: int
    origin: int
    key: int
    seq: int
    issued: int
    target: int
    predictor: int
    size: int
    ready: list[int]  # to be moved now
    left: list[int]  # not yet through
    needed: int = -1
    started: int = -1
    landed: int = -1
    storage_done: int = -1
