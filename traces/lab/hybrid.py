"""Two predictors as one: an early distant one and a late near one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from prefetch_sim.traces.lab.trained import Speaker
from prefetch_sim.traces.trace import Array, PredictionInfo, Trace, TraceError


def _moment(info: PredictionInfo) -> tuple[int, int]:
    """When it speaks of a layer: layers before it, then the point within the one that it reads."""
    return -info.distance, ("layer_start", "gate_input", "routed").index(info.trigger)


@dataclass
class Hybrid:
    """``average`` adds up log odds; ``union`` names the near one's top-k, then the distant one's.

    It speaks when the near one does; where one is silent the other speaks alone. Raises TraceError
    where the far one speaks later of a layer than the near one.
    """

    far: Speaker
    near: Speaker
    how: Literal["average", "union"]

    def __post_init__(self) -> None:
        if _moment(self.far.info) > _moment(self.near.info):
            raise TraceError(
                f"{self.name}: {self.far.name} speaks later of a layer than {self.near.name}; "
                "name them the other way round"
            )

    @property
    def name(self) -> str:
        return f"{self.far.name}_{'avg' if self.how == 'average' else 'or'}_{self.near.name}"

    @property
    def info(self) -> PredictionInfo:
        far, near = self.far.info, self.near.info
        parts = (far.time_us, near.time_us)
        says = "log odds averaged" if self.how == "average" else "union of their top-k"
        return PredictionInfo(
            trigger=near.trigger,
            distance=near.distance,
            flops=far.flops + near.flops,
            bytes=far.bytes + near.bytes,
            time_us=None if None in parts else round(sum(p for p in parts if p is not None), 2),
            description=f"{self.far.name} (distance {far.distance}) and {self.near.name} "
            f"(distance {near.distance}), {says}.",
        )

    def blocks(self, trace: Trace) -> Iterator[tuple[slice, Array]]:
        for (rows, far), (_, near) in zip(self.far.blocks(trace), self.near.blocks(trace)):
            if self.how == "average":
                said = (far + near) / 2
            else:
                said = _union(far, near, trace.model.top_k)
            # One that is silent in a layer has no say; on a document, it silences both.
            said = np.where(np.isnan(near), far, np.where(np.isnan(far), near, said))
            said[:, np.isnan(far[-1, :, 0]) | np.isnan(near[-1, :, 0])] = np.nan
            yield rows, said.astype(np.float32)


def _union(far: Array, near: Array, top_k: int) -> Array:
    """Log odds [L, N, E] that rank the near one's top-k first, then the distant one's."""
    either = np.fmax(far, near)

    def chosen(said: Array) -> Array:
        order = np.argpartition(-np.nan_to_num(said, nan=-np.inf), top_k - 1, axis=-1)
        mask = np.zeros(said.shape, bool)
        np.put_along_axis(mask, order[..., :top_k], True, axis=-1)
        return mask

    # Three tiers, each in its own order: one that would overlap with the tier above moves down.
    tier = np.where(chosen(near), 2, np.where(chosen(far), 1, 0))
    said = either.copy()
    for lower, upper in ((1, 2), (0, 1)):
        above = np.where(tier >= upper, said, np.inf).min(axis=-1, keepdims=True)
        best = np.where(tier == lower, said, -np.inf).max(axis=-1, keepdims=True)
        down = np.where(np.isfinite(best), np.maximum(0, best - above + 1e-3), 0)
        said = np.where(tier == lower, said - down, said)
    return said
