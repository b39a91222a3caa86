"""What a token's time goes with, in words."""

from __future__ import annotations

from prefetch_sim.experiments.advising.answer import Advice

_LIMITS = {
    "cpu": "the CPU and its memory",
    "gpu": "the GPU and its memory",
    "link": "the host link",
    "drive": "the drive",
    "engine": "the engine's own work",
}
_HIDDEN = 0.05  # a share of the limits that is to be seen in what more of it gains


def limits(advice: Advice) -> str:
    """The largest first; and which of them gain less than they cost.

    Twice a rate takes half of its share off: it gains share / (2 - share).
    """
    shares = [(name, share) for name, share in (advice.limits or {}).items() if share >= 0.01]
    text = ", ".join(f"{_LIMITS[name]} {round(100 * share)} %" for name, share in shares)
    gains = {one.what.removesuffix("*2"): one.gain for one in advice.more}
    hidden = [
        _LIMITS[name]
        for name, share in shares
        if share >= _HIDDEN and gains.get(name, share) < share / (2 - share) / 3
    ]
    # A tenth worse and twice as good differ where two things go on at once and take as long.
    for name in hidden:
        text += (
            f"; slower, {name} costs that, but faster it gains less: other work then takes as long"
        )
    return text
