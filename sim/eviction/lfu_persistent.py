"""Least frequently used, counted since the run began: counts survive eviction.

Ties leave in order of last use.
"""

from __future__ import annotations

from prefetch_sim.sim.eviction.lfu import inserted, used

__all__ = ["inserted", "used"]
