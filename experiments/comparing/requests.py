"""Whether two runs are of the same requests, which is what makes pairs of them."""

from __future__ import annotations

import numpy as np

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.workload.workload import Workload

_KEYS = ("trace", "requests", "tokens", "layers")  # what says which requests are run


def check_same_requests(a: Inputs, b: Inputs) -> None:
    """Both run the same tokens of the same requests, routed alike.

    Models, hardware, batch sizes and how many experts a token takes (``model.top_k``) may differ.
    Raises ConfigError naming the key that makes the difference.
    """
    if _alike(a.workload, b.workload):
        return
    only = "only runs of the same requests can be compared"
    for key in _KEYS:
        in_a, in_b = (getattr(side.config, key) for side in (a, b))
        if in_a != in_b:
            raise ConfigError(f"{key}: A has {_shown(in_a)} and B has {_shown(in_b)}; {only}")
    raise ConfigError(f"trace: is routed otherwise in A than in B; {only}")


def _alike(a: Workload, b: Workload) -> bool:
    one, other, k = a.trace, b.trace, min(a.top_k, b.top_k)
    return (
        (a.layers, a.experts, a.requests) == (b.layers, b.experts, b.requests)
        and np.array_equal(one.phase, other.phase)
        and np.array_equal(one.position, other.position)
        and np.array_equal(one.experts[:, :, :k], other.experts[:, :, :k])
    )


def _shown(value: object) -> str:
    """A name, a slice, or what a made-up trace says."""
    if value is None:
        return "all"
    given = getattr(value, "model_dump", None)
    if given is None:
        return repr(value)
    return "{" + ", ".join(f"{k}: {v}" for k, v in given(exclude_defaults=True).items()) + "}"
