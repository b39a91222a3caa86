"""The predictors' networks: one of the same shape for every layer, trained side by side.

Weights carry the layers in front, [L, ...], so one batched product serves all of them; no layer
sees another's input.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

Architecture = Literal["arch1", "arch2", "linear", "gate"]
DROPOUT = 0.1


class Stacked(nn.Module):  # type: ignore[misc]
    """``inputs`` [L, N, d] to what each layer's predictor says of its experts, [L, N, E].

    - ``arch1``: Linear → BatchNorm1d → GELU → Dropout 0.1 → Linear (arXiv 2511.10676)
    - ``arch2``: Linear → SiLU → Linear (the same)
    - ``linear``: one Linear
    - ``gate``: the layer's own gate, scaled, plus an ``arch2`` that corrects it and starts at zero
    """

    def __init__(
        self, architecture: Architecture, layers: int, width: int, hidden: int, experts: int
    ) -> None:
        super().__init__()
        self.architecture = architecture
        inner = width if architecture == "linear" else hidden
        if architecture != "linear":
            self.w1 = _start(layers, width, hidden)
            self.b1 = nn.Parameter(torch.zeros(layers, 1, hidden))
        if architecture == "arch1":
            self.norm = nn.BatchNorm1d(layers * hidden)
        self.w2 = _start(layers, inner, experts)
        self.b2 = nn.Parameter(torch.zeros(layers, 1, experts))
        if architecture == "gate":
            # Kept as it is: some ten thousand tokens would not teach a matrix as good.
            self.register_buffer("gate", torch.zeros(layers, width, experts))
            self.scale = nn.Parameter(torch.ones(layers, 1, 1))
            nn.init.zeros_(self.w2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = inputs
        if self.architecture != "linear":
            hidden = torch.baddbmm(self.b1, hidden, self.w1)
        if self.architecture == "arch1":
            layers, rows, width = hidden.shape
            flat = hidden.transpose(0, 1).reshape(rows, layers * width)
            hidden = self.norm(flat).view(rows, layers, width).transpose(0, 1)
            hidden = functional.dropout(functional.gelu(hidden), DROPOUT, self.training)
        elif self.architecture in ("arch2", "gate"):
            hidden = functional.silu(hidden)
        said = torch.baddbmm(self.b2, hidden, self.w2)
        if self.architecture == "gate":
            said = said + self.scale * torch.bmm(inputs, self.gate)
        return said

    def start_at(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Begin as these gates, [L, E, d] and [L, E], on the last d of what is read."""
        with torch.no_grad():
            self.gate[:, -weight.shape[2] :] = weight.transpose(1, 2)
            self.b2[:, 0] = bias

    @property
    def flops(self) -> float:
        """Of one token and layer, a multiplication and an addition each."""
        return 2.0 * self.weights

    @property
    def weights(self) -> int:
        """Of one layer, without biases and norms; of a gate, the inputs that it reads."""
        state = self.state_dict()
        gate = state.get("gate", torch.zeros(1, 0, 0))[0]
        read = int((gate != 0).any(dim=1).sum()) * int(gate.shape[1])
        return read + sum(int(state[name][0].numel()) for name in ("w1", "w2") if name in state)


def _start(layers: int, rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(layers, rows, columns) / math.sqrt(rows))
