"""What is in the accelerator's memory beside the expert cache."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from prefetch_sim.hardware_profiles import RuntimeProfile
from prefetch_sim.sim.cost.attention import AttentionWork
from prefetch_sim.sim.cost.runtime import MIB
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.models.precision import Stored
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.models.weights import Weights


class Reserve(NamedTuple):
    """Bytes that the expert cache cannot have."""

    weights: int
    kv_cache: int
    runtime: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.runtime

    def __str__(self) -> str:
        weights, kv_cache, own = (f"{nbytes / 2**30:.2f} GiB" for nbytes in self)
        return (
            f"{weights} of other weights, {kv_cache} of KV cache and {own} that the runtime keeps"
        )


def longest(workload: Workload) -> int:
    """Tokens of the longest request."""
    return int(workload.trace.position.max()) + 1


def reserve(
    model: ModelSpec,
    workload: Workload,
    precision: Stored,
    runtime: RuntimeProfile,
    context: int | None = None,
) -> Reserve:
    """The reserve of ``model``, stored in ``precision``, for the largest batch.

    ``context``: tokens of KV cache kept for each request; None: as many as the longest has.
    """
    weights = Weights.of(model, precision)

    # As much for every place of the batch; a local layer keeps its window,
    # a recurrent one its state.
    context = context or longest(workload)
    each, states = 0.0, 0
    for (shape, window), layers in Counter(model.mixers).items():
        work = AttentionWork.of(shape, model.hidden, "decode", weights.kv)
        each += layers * min(context, window or context) * work.kv_bytes
        states += layers * work.state_bytes
    requests = min(workload.batch_size, len(workload.requests))
    own = round(runtime.reserve_mib.value * MIB)
    return Reserve(weights.beside_experts, round(requests * (each + states)), own)
