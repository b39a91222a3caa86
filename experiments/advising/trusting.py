"""What an answer rests on, in words."""

from __future__ import annotations

from collections.abc import Sequence

from prefetch_sim.experiments.advising import limiting
from prefetch_sim.experiments.advising.answer import Advice
from prefetch_sim.experiments.text import number


def trust(advice: Advice) -> str:
    """How wide the band is, why, and what was measured nearby."""
    speed, rests = advice.speed, advice.trust
    assert speed is not None
    assert rests is not None
    shown = f"±{_share(speed.half_width)}"
    if speed.cut:
        low = "up" if speed.at_best else number(speed.uncut_low)
        shown += (
            f" is the most that is shown; what is known leaves more, ±{_share(speed.uncut)} "
            f"({low} to {number(speed.uncut_high)} tokens/s)"
        )
    doubts = ", ".join(
        f"{limiting.figure(path, advice.chip)} ±{_share(part)}"
        for path, part in rests.doubts.items()
    )
    kinds = " and ".join(f"{n} {kind}" for kind, n in _kinds(rests.figures))
    text = (
        f"{shown}: figures ±{_share(speed.from_figures)} ({doubts}; "
        f"of those that count {kinds}), field check ±{_share(speed.from_field)}"
    )
    if rests.whole is not None:
        text += f" ({rests.whole})"
    if speed.at_best:
        text += ", upwards only; no run was compared that reads through the page cache"
    near = "; ".join(
        f"{one.what}: {number(one.measured)} measured, {number(one.expected)} expected"
        for one in rests.measured
    )
    return f"{text}; nearest measured: {near}" if near else f"{text}; nothing near was measured"


def _kinds(figures: dict[str, int]) -> Sequence[tuple[str, int]]:
    names = {"measured": "measured", "datasheet": "from datasheets", "estimate": "estimated"}
    return [(names[kind], n) for kind, n in figures.items() if n]


def _share(value: float) -> str:
    return f"{round(100 * value)} %"
