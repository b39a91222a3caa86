"""Which engine runs a config: SimPy, which takes everything, or the compiled one, which is faster.

Both give the same records to the nanosecond, so the choice changes no result but the field that
names it. It depends on the config alone: neither on the machine's speed nor on what is cached.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from sim.errors import ConfigError
from sim.inputs import Inputs

Engine = Literal["simpy", "compiled"]
# Compiling takes some 20 s, once for each kind of way: about as long as this many layer-steps take
# on SimPy.
WORTH_COMPILING = 250_000


def choose(inputs: Inputs, *, watched: bool = False) -> Engine:
    """The engine for a run; ``watched``: observers are attached. Raises ConfigError."""
    asked = inputs.config.engine
    if asked == "simpy":
        return "simpy"
    refused = _refused(inputs, watched)
    if asked == "compiled":
        if refused is not None:
            raise ConfigError(f"engine: compiled {refused}")
        return "compiled"
    workload = inputs.workload
    layer_steps = workload.trace.tokens * workload.layers // workload.batch_size
    return "simpy" if refused is not None or layer_steps < WORTH_COMPILING else "compiled"


def _refused(inputs: Inputs, watched: bool) -> str | None:
    """Why the compiled engine cannot run ``inputs``."""
    if find_spec("numba") is None:
        return "needs numba: pip install -e '.[compiled]' in the clone"
    if watched:
        return "draws no timeline: use engine: simpy"
    for kind, module in (("eviction", inputs.eviction), ("prefetch policy", inputs.policy)):
        if not module.__name__.startswith("sim."):
            return f"has no form of the {kind} {module.__name__!r}: use engine: simpy"
    return None
