"""How long it takes to compute, beside loads or not. Rules: docs/timing.md.

The plain kernel (``arrays.LoadPath`` None) knows when it is compiled that loads slow nothing down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefetch_sim.sim.compiled.arrays import Costs, Setup
from prefetch_sim.sim.compiled.progress import Run
from prefetch_sim.sim.jit.jit import by_presence, part

Chosen = Callable[[Setup, Costs | None], Any]

_slows: Chosen = by_presence(lambda state, option: False, lambda state, option: state.slows)
_beside: Chosen = by_presence(lambda state, option: state.alone, lambda state, option: option)


@part
def slows(s: Setup) -> bool:
    """Whether what computes beside loads takes longer."""
    return bool(_slows(s, s.beside))


@part
def beside_loads(s: Setup, r: Run) -> bool:
    """Whether what is about to compute does so beside loads, and is slower."""
    return slows(s) and r.at.outstanding > 0


@part
def costs(s: Setup, beside: bool) -> Costs:
    """What computing takes, ``beside`` loads or not."""
    return _beside(s, s.beside) if beside else s.alone
