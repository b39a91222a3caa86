"""Both engines on one system, and whether they agree in everything that they report."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any
from unittest.mock import patch

from hypothesis import Phase, given, seed, settings
from test_properties import Small, smalls

from sim.compiled import engine, kernel, replay
from sim.run import Simulation
from sim.tiers import fewest_loads

KERNEL: Any = kernel.run.py_func  # type: ignore[attr-defined]


@contextmanager
def uncompiled(go: Any = KERNEL) -> Iterator[None]:
    """The kernel's own code, run by Python: a small system takes less time than compiling."""
    plain = replay.replay.py_func  # type: ignore[attr-defined]
    with patch.object(engine, "kernel", lambda: go), patch.object(replay, "replay", plain):
        yield


def on(small: Small, name: str) -> Simulation:
    """``small`` on the engine of that name."""
    return replace(small, config={**small.config, "engine": name}).run()


def differences(one: Simulation, other: Simulation) -> list[str]:
    """What the two runs do not have in common."""
    found = []
    for name in ("steps", "layers", "loads"):
        a, b = getattr(one, name).table(), getattr(other, name).table()
        if a.shape != b.shape or (a != b).any():
            found.append(f"{name}: {a.tolist()} and {b.tolist()}")
    for name in ("proposed", "counts", "moved_bytes"):
        a, b = getattr(one.loader, name), getattr(other.loader, name)
        if a != b:
            found.append(f"{name}: {a} and {b}")
    for a, b in zip(one.totals, other.totals):
        if (a != b).any():
            found.append(f"totals: {a.tolist()} and {b.tolist()}")
    if one.loads.landed != other.loads.landed:
        found.append(f"landed: {one.loads.landed} and {other.loads.landed}")
    if one.events != other.events:
        found.append(f"events: {one.events} and {other.events}")
    fewest, also = fewest_loads(one.inputs, "simpy"), fewest_loads(other.inputs, "compiled")
    if (fewest != also).any():
        found.append(f"fewest loads: {fewest.tolist()} and {also.tolist()}")
    return found


def main(systems: int) -> None:
    """``python tests/agreement.py 100000``: that many random systems, the kernel compiled."""
    batch = 1000
    began = time.time()
    counts: Counter[str] = Counter()
    for number in range(systems // batch):

        @seed(number)
        @settings(max_examples=batch, deadline=None, database=None, phases=[Phase.generate])
        @given(smalls())
        def agree(small: Small) -> None:
            one, other = on(small, "simpy"), on(small, "compiled")
            assert differences(one, other) == [], small
            counts["systems"] += 1
            counts["layer-steps"] += len(one.layers)
            counts["loads"] += len(one.loads)
            counts["events"] += one.events

        agree()
    told = ", ".join(f"{n:,} {what}" for what, n in counts.items())
    print(f"{date.today()}: {told}; every record equal ({time.time() - began:.0f} s)")


if __name__ == "__main__":
    main(int(sys.argv[1]))
