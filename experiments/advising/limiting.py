"""What a token's time goes with, in words."""

from __future__ import annotations

from prefetch_sim.experiments.advising.answer import Advice
from prefetch_sim.experiments.advising.points import MISSES
from prefetch_sim.hardware_profiles import Chip

_LIMITS = {
    "cpu": "the CPU and its memory",
    "gpu": "the GPU and its memory",
    "link": "the host link",
    "drive": "the drive",
    "engine": "the engine's own work",
}
_FIGURES = (  # by what is in their paths, the first that fits
    ("hardware.cpu.expert_gb_s", "how fast the CPU reads experts"),
    ("hardware.contention", "how the link and the CPU share memory"),
    ("hardware.host_link", "the host link"),
    ("hardware.storage", "the drive"),
    ("hardware.compute.memory_gb_s", "how fast the GPU's memory is"),
    ("hardware.compute.expert_efficiency", "how well the GPU reads experts"),
    ("hardware.compute.beside_loads", "what loads leave of the memory's rate"),
    ("hardware.compute", "the GPU"),
    ("hardware.cpu", "the CPU"),
    ("runtime.cpu", "what handing work to the CPU costs"),
    ("runtime.load", "what a load costs the engine"),
    ("runtime.miss", "what a miss costs the engine"),
    ("runtime.layer_us", "the engine's work of a layer"),
    ("runtime.step_us", "the engine's work of a token"),
    ("runtime", "the engine's own work"),
)
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


def figure(path: str, chip: Chip | None = None) -> str:
    """A figure of a machine or an engine in words. Where ``chip`` is a CPU, there is no GPU."""
    if path == MISSES:
        return "how often the cache hits"
    text = next((said for end, said in _FIGURES if end in path), path)
    return text.replace("GPU", "CPU") if chip == "cpu" else text
