"""What is wanted of a validation's summary, by what it says."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """What is wanted of a figure of the summary."""

    most: float | None = None
    least: float | None = None


TARGETS = {
    "error of mean TPOT, median of points, %": Target(most=10),
    "error of mean TPOT, p95 of points, %": Target(most=15),
    "spread of repeats, median of points, %": Target(most=8),
    "pairs of policies that differ": Target(least=20),
    "Kendall tau of the pairs that differ": Target(least=0.9),
    "without prefetch: equal decisions, % of layer-steps": Target(least=100),
    "with prefetch: least mean Jaccard of a run": Target(least=0.95),
    "differences not traced to a load": Target(most=0),
    "replays whose outputs are the reference's, %": Target(least=100),
}


# With CUDA: what is measured there repeats better.
OF_GPUS = TARGETS | {
    "error of mean TPOT, median of points, %": Target(most=5),
    "error of mean TPOT, p95 of points, %": Target(most=10),
}
