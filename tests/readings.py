"""What each reading of the rules reports of a system: the literal model and both engines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import literal
from agreement import arrays_of, uncompiled, views
from harness import FixedCost
from test_properties import Small

from sim.inputs import Inputs
from sim.loads import DISPOSITIONS
from sim.run import Simulation, simulate

READINGS = ("literal", "simpy", "compiled")


def read(by: str, inputs: Inputs, cost: FixedCost, arrays: Any = views) -> dict[str, Any]:
    """``by``: one of READINGS; the compiled one is run by Python, on ``arrays``."""
    if by == "literal":
        return _of_literal(literal.read(inputs, cost))
    inputs = replace(inputs, config=inputs.config.model_copy(update={"engine": by}))
    with uncompiled(arrays):
        return of_engine(simulate(inputs, cost=cost))  # type: ignore[arg-type]


def read_small(by: str, small: Small) -> dict[str, Any]:
    return read(by, small.inputs(), FixedCost(small.layers, **small.cost), arrays_of(small))


def of_engine(done: Simulation) -> dict[str, Any]:
    """What a run on either engine has in common with the literal model."""
    names = [*DISPOSITIONS, "demanded"]
    loads = done.loads.table().tolist()
    return {
        "steps": list(map(tuple, done.steps.table().tolist())),
        "layers": list(map(tuple, done.layers.table().tolist())),
        # Those that end at one instant have no order.
        "loads": sorted((*row[:4], names[row[4]], *row[5:]) for row in loads),
        "proposed": int(done.loader.proposed),
        "counts": dict(zip(DISPOSITIONS, map(int, done.loader.counts))),
        "moved": {
            ("storage" if stage.name == "storage" else "host link", origin): int(nbytes)
            for stage, moved in zip(done.loader.stages, done.loader.moved_bytes)
            for origin, nbytes in enumerate(moved)
            if nbytes
        },
    }


def _of_literal(told: literal.Reading) -> dict[str, Any]:
    return {
        "steps": told.steps,
        "layers": told.layers,
        "loads": sorted(told.loads),
        "proposed": told.proposed,
        "counts": {name: told.counts[name] for name in DISPOSITIONS},
        "moved": dict(told.moved),
    }
