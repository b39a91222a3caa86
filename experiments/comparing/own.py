"""What is said of policies of a user's own, beside what they gain."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prefetch_sim.experiments.comparing.comparison import Comparison
from prefetch_sim.experiments.conclusions.unchecked import unchecked


def foresight(places: Sequence[Comparison]) -> list[str]:
    """Which predictors of a user's own may look ahead, for all that is known."""
    labels = (label for c in places for side in (c.a, c.b) for label in side["predictors"])
    return unchecked(re.sub(r"\.\d+$", "", label) for label in labels)  # a name that is there twice
