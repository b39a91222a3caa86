"""A third reading of docs/timing.md: event by event, nothing worked out before it has happened.

It shares with the engines what policies, predictors, workload and durations are, and nothing of how
time is kept. It is slow and plain: queues are sorted whenever something may start, who leaves is
the least of a dictionary, and each rule stands once, in the words of the specification.
"""

from __future__ import annotations

from typing import Any

from literal.forward_pass import ForwardPass
from literal.transfers import Reading
from prefetch_sim.sim.setup.inputs import Inputs


def read(inputs: Inputs, cost: Any) -> Reading:
    """What docs/timing.md says of a run."""
    return ForwardPass(inputs, cost).run()
