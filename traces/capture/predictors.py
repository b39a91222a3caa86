"""Predictors that speak while a model runs: trained ones, and gates that are used early."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from prefetch_sim.traces.capture.models import Loaded
from prefetch_sim.traces.capture.recorder import Recording
from prefetch_sim.traces.capture.session import LivePredictor
from prefetch_sim.traces.errors import did_you_mean
from prefetch_sim.traces.lab.trained import load_predictor
from prefetch_sim.traces.timing import median_us
from prefetch_sim.traces.trace import PredictionInfo, TraceError

BYTES_PER_WEIGHT = 2  # bf16
UNTRAINED = ("next-gate", "early-gate", "own-gate")


@dataclass
class GatePredictor:
    """A layer's own gate, untrained, on what the gate ``distance`` layers earlier reads.

    Fate, Mixtral-offloading. At distance 0 it is the router itself and must be right: a control.
    ``early``: on what attention reads, the input of pre-attention prediction without its training.
    """

    loaded: Loaded
    distance: int
    named: int
    early: bool = False
    seen: Collection[int] = ()

    @cached_property
    def info(self) -> PredictionInfo:
        hidden, experts = self.loaded.spec.hidden, self.loaded.spec.experts
        reads = "its own input, a control"
        if self.early:
            reads = "the layer's input norm, untrained"
        elif self.distance:
            reads = f"the gate input {self.distance} layers before, untrained"
        return PredictionInfo(
            trigger="layer_start" if self.early else "gate_input",
            distance=self.distance,
            flops=2 * hidden * experts,
            bytes=BYTES_PER_WEIGHT * hidden * experts,
            time_us=self._time(),
            description=f"The layer's own gate on {reads}. Scores are the softmax over all.",
        )

    def _time(self) -> float:
        """Microseconds for one token and layer, where the model is."""
        part, model = self.loaded.roles.moe[-1], self.loaded.model
        row = torch.zeros(1, self.loaded.spec.hidden, dtype=model.dtype, device=model.device)
        backend = torch.get_device_module(model.device)

        def ask() -> None:
            part.route(row)
            backend.synchronize()

        with torch.no_grad():
            return median_us(ask, 20)

    def predict(self, recording: Recording, tokens: torch.Tensor) -> tuple[Any, Any]:
        inputs = recording.layer_input if self.early else recording.gate_input
        assert inputs is not None
        rows, layers = inputs.shape[:2]
        experts = torch.full((rows, layers, self.named), -1)
        scores = torch.zeros(rows, layers, self.named)
        for layer in range(self.distance, layers):
            part = self.loaded.roles.moe[layer]
            chosen, logits = part.route(inputs[:, layer - self.distance])
            # Where groups or a bias choose, the chosen need not have the largest logits.
            above = logits.amax(1, keepdim=True) - logits.amin(1, keepdim=True) + 1
            rank = logits.scatter_add(1, chosen, above.expand_as(chosen))
            best = rank.topk(self.named, dim=1).indices
            chance = torch.softmax(logits, dim=1).gather(1, best)
            experts[:, layer] = best.cpu()
            scores[:, layer] = chance.cummin(dim=1).values.cpu()
        return experts, scores


def live_predictors(
    loaded: Loaded, given: list[str], extra: int | None
) -> dict[str, LivePredictor]:
    """``next-gate[:DISTANCE]``, ``early-gate``, ``own-gate`` or a folder of a trained predictor.

    By their names; they name ``extra`` experts beyond top-k, by default as ``ModelSpec.named``.
    Raises TraceError for what is none of these, or was trained on another model.
    """
    named = loaded.spec.named(extra)
    found: dict[str, LivePredictor] = {}
    for text in given:
        kind, _, distance = text.partition(":")
        name = text
        predictor: LivePredictor
        if kind == "next-gate":
            ahead = int(distance or 1) if (distance or "1").isdecimal() else 0
            if not 0 < ahead < loaded.spec.moe_layers:
                raise TraceError(
                    f"--predictor {text}: the distance is a number of layers, 1 to "
                    f"{loaded.spec.moe_layers - 1}"
                )
            name = kind if ahead == 1 else f"{kind}-{ahead}"
            predictor = GatePredictor(loaded, ahead, named)
        elif text == "early-gate":
            predictor = GatePredictor(loaded, 0, named, early=True)
        elif text == "own-gate":
            predictor = GatePredictor(loaded, 0, named)
        elif not Path(text).is_dir():
            near = did_you_mean(kind, UNTRAINED)
            raise TraceError(f"--predictor {text}: no folder of a trained predictor{near}")
        else:
            trained = load_predictor(text)
            trained.check_model(loaded.spec, loaded.digest)
            name, predictor = trained.name, trained.live(loaded.device, named)
        if name in found:
            raise TraceError(f"--predictor {text}: {name} is given twice")
        found[name] = predictor
    return found
