"""Network predictors at work: from what a layer reads to calibrated log odds of its experts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from prefetch_sim.traces.capture.recorder import Recording
from prefetch_sim.traces.lab.card import Card
from prefetch_sim.traces.lab.losses import LEVEL_FREE
from prefetch_sim.traces.lab.networks import Stacked
from prefetch_sim.traces.states import States
from prefetch_sim.traces.trace import Array, TraceError

# What each kind reads in the layer where it fires.
READS: dict[str, tuple[str, ...]] = {
    "pre-attention": ("layer_input",),
    "cross-layer": ("gate_input",),
    "both-inputs": ("layer_input", "gate_input"),
}
WEIGHTS = "weights.pt"


class Network:
    """A trained network predictor, on states that were recorded or as a model makes them."""

    def __init__(self, card: Card, folder: Path, device: torch.device | str = "cpu") -> None:
        self.card, self.info = card, card.info
        self.kind, self.distance = card.kind, card.info.distance
        width = card.model.hidden * len(READS[self.kind])
        self.groups: list[tuple[range, Stacked]] = []
        first = self.distance
        try:
            self.loss = str(card.settings["loss"])
            architecture: Any = card.settings["architecture"]
            saved = torch.load(folder / WEIGHTS, weights_only=True)
            for state in saved:
                layers = len(state["w2"])
                hidden, experts = int(card.settings["hidden"]), card.model.experts
                network = Stacked(architecture, layers, width, hidden, experts)
                network.load_state_dict(state)
                self.groups.append((range(first, first + layers), network.to(device).eval()))
                first += layers
        except (OSError, RuntimeError, LookupError, ValueError, EOFError, UnpicklingError):
            raise TraceError(f"{folder / WEIGHTS}: damaged or missing: train it again") from None
        ahead = card.model.moe_layers - self.distance
        self.slope = torch.tensor(card.slope, device=device).view(ahead, 1, 1)
        self.offset = torch.tensor(card.offset, device=device).view(ahead, 1, 1)

    def scores(self, inputs: Callable[[range], torch.Tensor]) -> torch.Tensor:
        """Calibrated logits [L - distance, N, E]; ``inputs`` gives [G, N, d] of firing layers."""
        parts = []
        with torch.no_grad():
            for layers, network in self.groups:
                firing = range(layers.start - self.distance, layers.stop - self.distance)
                said = network(inputs(firing).float())
                parts.append(levelled(said, self.card.model.top_k, self.loss))
        return self.slope * torch.cat(parts) + self.offset

    def of_states(self, states: dict[str, States], rows: Array) -> torch.Tensor:
        """Calibrated logits of some rows of a captured trace: [L - distance, N, E]."""

        def inputs(firing: range) -> torch.Tensor:
            return state_inputs(states, self.kind, firing, rows)

        return self.scores(inputs)

    def of_recording(self, recording: Recording) -> torch.Tensor:
        """Calibrated logits of a forward pass just made: [L - distance, N, E]."""
        kinds = [getattr(recording, kind) for kind in READS[self.kind]]

        def inputs(firing: range) -> torch.Tensor:
            parts = [values[:, firing.start : firing.stop].transpose(0, 1) for values in kinds]
            return torch.cat(parts, dim=-1)

        return self.scores(inputs)


def levelled(said: torch.Tensor, top_k: int, loss: str) -> torch.Tensor:
    """Scores on one level for all tokens, [..., E], without which they are no probabilities.

    Losses that centre a token's scores, or leave their level open, say nothing of where the
    routed end: the level is put between the k-th and the next. The order is the same.
    """
    if loss not in LEVEL_FREE or top_k == said.shape[-1]:
        return said
    edge = said.topk(top_k + 1, dim=-1).values[..., -2:]
    return said - edge.mean(dim=-1, keepdim=True)


def state_inputs(states: dict[str, States], kind: str, firing: range, rows: Array) -> torch.Tensor:
    """float16 [G, N, d]: what the predictor reads in the layers where it fires."""
    layers = [
        np.concatenate([states[name].layer(layer, rows) for name in READS[kind]], axis=1)
        for layer in firing
    ]
    return torch.from_numpy(np.stack(layers))
