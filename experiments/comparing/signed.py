"""Differences as they are shown: with their sign, and as shares."""

from __future__ import annotations

import math

from prefetch_sim.experiments.text import number, percent

NOTHING = 1e-6  # ms: below a ns, which is what times are counted in


def signed(value: float | None) -> str:
    """A difference; "–" for none."""
    if value is None or math.isnan(value):
        return "–"
    return f"+{number(value)}" if value >= NOTHING else number(value)


def change(part: float | None, whole: float | None) -> str:
    """A difference as a share of something; "–" where there is none."""
    if part is None or not whole:
        return "–"
    return f"{100 * part / whole:+.1f} %" if part else percent(0)
