"""What arXiv 2511.10676v1 reports for DeepSeek-V2-Lite: its timing table and its accuracies."""

from __future__ import annotations

from typing import NamedTuple


class Timings(NamedTuple):
    """Milliseconds, means of 50 samples, eager PyTorch; the context length is not stated."""

    input_norm: float
    self_attention: float
    post_norm: float
    expert_selection: float
    expert_computation: float
    disk: float  # six experts, disk to GPU
    pinned: float  # six experts, pinned host memory to GPU


TIMINGS = {
    "v100-sxm2-32gb": Timings(0.129, 1.128, 0.129, 0.143, 10.31, 48.1, 9.5),
    "a100-pcie-40gb": Timings(0.077, 0.761, 0.082, 0.097, 6.20, 49.8, 8.5),
    "a100-pcie-80gb": Timings(0.075, 0.739, 0.080, 0.102, 6.81, 33.5, 4.0),
}
PREDICTOR_MS = 0.15
ENTROPY = 0.976  # of routing, normalised; first 9 layers, 300 tokens (Fig. 2)
# Share of layer-0 sets named whole (Table 4), and Fate's figure as the paper quotes it.
EXACT = {"Arch 1": 0.9303, "Arch 2": 0.9231, "Fate": 0.7879}


def miss_ms(accuracy: float, load_ms: float) -> float:
    """The paper's cost of imperfect prediction, ms a token: miss rate × time to load a set."""
    return (1.0 - accuracy) * load_ms
