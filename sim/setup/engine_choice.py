"""Chooses the engine of a config: SimPy, which takes everything, or the compiled one, for speed.

Both give the same records to the nanosecond, so the choice changes no result but the field that
names it. It depends on the config alone, in a sweep on those of all its points: neither on the
machine's speed nor on what is cached.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.registry import is_of_this_package
from prefetch_sim.sim.setup import clock
from prefetch_sim.sim.setup.inputs import Inputs

Engine = Literal["simpy", "compiled"]
# Compiling takes some 20 s, once for each kind of load path: as long as this many layer-steps take
# on SimPy, be they one run's or those of all points of a sweep.
WORTH_COMPILING = 250_000


def choose(inputs: Inputs, *, watched: bool = False) -> Engine:
    """The engine for a run alone; ``watched``: observers are attached.

    Raises ConfigError where the engine asked for cannot run it, or none can.
    """
    clock.check(inputs)
    asked, refused = inputs.config.engine, _impossible(inputs, watched)
    if asked == "compiled" and refused is not None:
        raise ConfigError(f"engine: compiled {refused}")
    own = 0 if refused is not None else layer_steps(inputs)
    return resolve(asked, own, own)


def resolve(asked: Engine | Literal["auto"], own: int, together: int) -> Engine:
    """What ``auto`` is for a run that may compile ``own`` layer-steps, ``together`` with others.

    Once compiled, the kernel serves every run of a sweep: many short ones repay it as a long one.
    """
    if asked != "auto":
        return asked
    return "compiled" if own and together >= WORTH_COMPILING else "simpy"


def compilable(inputs: Inputs) -> int:
    """How many layer-steps of a run may be compiled: all, or none where SimPy has to do it."""
    wanted = inputs.config.engine != "simpy" and _impossible(inputs, watched=False) is None
    return layer_steps(inputs) if wanted else 0


def layer_steps(inputs: Inputs) -> int:
    workload = inputs.workload
    return workload.trace.tokens * workload.layers // workload.batch_size


def _impossible(inputs: Inputs, watched: bool) -> str | None:
    """Why the compiled engine cannot run ``inputs``."""
    if find_spec("numba") is None:
        return "needs numba, which is not installed: pip install numba, or use engine: simpy"
    if watched:
        return "draws no timeline: use engine: simpy"
    config = inputs.config
    for kind, module, name in (
        ("eviction", inputs.eviction, config.cache.eviction.name),
        ("prefetch policy", inputs.policy, config.prefetch.policy),
        ("miss policy", inputs.misses, config.misses.policy),
    ):
        if not is_of_this_package(module.__name__):
            return f"has no form of the {kind} {name!r}: use engine: simpy"
    return None
