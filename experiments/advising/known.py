"""What is known of an engine on some cards, or with some models, that its profile does not say.

Each is a figure with its source, as in a profile; which ones an answer takes is said in it.
"""

from __future__ import annotations

from typing import Any

from prefetch_sim.hardware_profiles import Chip
from prefetch_sim.sim.config.files import Tree, set_path

Figures = dict[str, dict[str, Any]]  # by dotted path

_NO_GRAPHS: Figures = {
    "cpu.submit_us": {
        "value": 175,
        "kind": "estimate",
        "uncertainty": 0.6,
        "source": "no CUDA graphs before Ampere (ggml-org/llama.cpp#7302): launches are waited for "
        "wherever the CPU had its turn, 59-76 µs a layer (ggml-org/llama.cpp#18934)",
    }
}
_BEFORE_AMPERE: tuple[Chip, ...] = ("pascal", "volta", "turing")
# Of llama.cpp and imp where the host takes part in every layer, so that kernels are launched one by
# one: this model has many small ones (delta nets, four streams) that its catalogued shape has not.
_SMALL_KERNELS: Figures = {
    "layer_us": {
        "value": 234,
        "kind": "estimate",
        "uncertainty": 0.4,
        "source": "launches of a layer of Qwen3.8-Flash-Next, fitted to kekzl/imp#2057 with and "
        "without a CUDA graph (docs/field-check.md)",
    }
}


def figures(runtime: str, chip: Chip | None, model: str) -> Figures:
    """Those that take the place of the engine's own, where experts are split."""
    found: Figures = {}
    if runtime == "llama.cpp" and chip in _BEFORE_AMPERE:
        found |= _NO_GRAPHS
    if runtime in ("llama.cpp", "imp") and model == "qwen3.8-flash-next":
        found |= _SMALL_KERNELS
    return found


def tree(runtime: str, found: Figures) -> str | Tree:
    """A config's ``runtime``, by name or file, with the figures ``found``."""
    whole: Tree = {"runtime": runtime}
    for path, figure in found.items():
        whole = set_path(whole, f"runtime.{path}", figure)
    return whole["runtime"]  # type: ignore[no-any-return]
