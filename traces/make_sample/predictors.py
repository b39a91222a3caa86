"""The sample's recorded predictors: two trained ones and the untrained reuse of the next gate.

All layers of a kind are trained at once, as one stack of matrices: every layer is its own
predictor, and none sees another's input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn import functional

from traces.make_sample.model import Shape
from traces.make_sample.record import Recording
from traces.trace import PredictionInfo

# Weighted binary cross-entropy with the paper's outer weights (arXiv 2511.10676): 3.0 for an
# expert that was routed to, 0.5 for one that was not.
ROUTED_WEIGHT, OTHER_WEIGHT = 3.0, 0.5
BYTES_PER_WEIGHT = 2  # bf16

Weights = dict[str, torch.Tensor]
Trigger = Literal["layer_start", "gate_input"]


@dataclass(frozen=True)
class PredictorTraining:
    hidden: int = 256
    epochs: int = 5
    batch: int = 1024
    peak_rate: float = 3e-3
    weight_decay: float = 0.01
    seed: int = 0


@dataclass
class Examples:
    """Inputs and routing of held-out text: inputs float16 [L, N, d], experts uint8 [L, N, k]."""

    layer_input: torch.Tensor
    gate_input: torch.Tensor
    experts: torch.Tensor

    @classmethod
    def gather(cls, recordings: list[Recording]) -> Examples:
        return cls(
            torch.cat([r.layer_input.half() for r in recordings], dim=1),
            torch.cat([r.gate_input.half() for r in recordings], dim=1),
            torch.cat([r.experts.to(torch.uint8).transpose(0, 1) for r in recordings], dim=1),
        )


def weighted_bce(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over all elements of the weighted binary cross-entropy; target is 0 or 1."""
    weight = torch.where(target > 0, ROUTED_WEIGHT, OTHER_WEIGHT)
    return functional.binary_cross_entropy_with_logits(logits, target, weight)


def mlp(weights: Weights, inputs: torch.Tensor) -> torch.Tensor:
    """Linear → SiLU → Linear for every layer: inputs [L, N, d], logits [L, N, E]."""
    hidden = functional.silu(torch.baddbmm(weights["b1"], inputs, weights["w1"]))
    return torch.baddbmm(weights["b2"], hidden, weights["w2"])


def train_mlp(
    inputs: torch.Tensor, experts: torch.Tensor, count: int, training: PredictorTraining
) -> tuple[Weights, list[float]]:
    """One MLP a layer: inputs [L, N, d], routed experts [L, N, k] of ``count``.

    Gives the weights and each epoch's mean loss.
    """
    layers, rows, width = inputs.shape
    generator = torch.Generator().manual_seed(training.seed)

    def start(*shape: int) -> torch.Tensor:
        drawn = torch.randn(*shape, generator=generator) / math.sqrt(shape[1])
        return drawn.requires_grad_()

    weights = {
        "w1": start(layers, width, training.hidden),
        "b1": torch.zeros(layers, 1, training.hidden, requires_grad=True),
        "w2": start(layers, training.hidden, count),
        "b2": torch.zeros(layers, 1, count, requires_grad=True),
    }
    optimizer = torch.optim.AdamW(
        weights.values(), lr=training.peak_rate, weight_decay=training.weight_decay, fused=True
    )
    total = training.epochs * math.ceil(rows / training.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    epochs = []
    for _ in range(training.epochs):
        losses = []
        for chosen in torch.randperm(rows, generator=generator).split(training.batch):
            routed = experts[:, chosen].long()
            target = torch.zeros(*routed.shape[:2], count).scatter_(2, routed, 1.0)
            loss = weighted_bce(mlp(weights, inputs[:, chosen].float()), target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(float(loss.detach()))
        epochs.append(sum(losses) / len(losses))
    return {name: weight.detach() for name, weight in weights.items()}, epochs


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Chance of being routed to, the loss's weighting taken out again.

    Weights 3 and 0.5 make the fitted odds six times the true ones: log 6 too many in the logit.
    """
    return torch.sigmoid(logits - math.log(ROUTED_WEIGHT / OTHER_WEIGHT))


def train_predictors(
    examples: Examples, shape: Shape, training: PredictorTraining
) -> tuple[dict[str, Weights], dict[str, list[float]]]:
    """Weights and epoch losses of ``pre-attention`` (same layer) and ``cross-layer`` (next)."""
    pre, pre_loss = train_mlp(examples.layer_input, examples.experts, shape.experts, training)
    cross, cross_loss = train_mlp(
        examples.gate_input[:-1], examples.experts[1:], shape.experts, training
    )
    losses = {"pre-attention": pre_loss, "cross-layer": cross_loss}
    return {"pre-attention": pre, "cross-layer": cross}, losses


def predict(
    model: Any, trained: dict[str, Weights], recording: Recording, named: int
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """For each predictor the ``named`` best experts [N, L, m], best first, and their scores.

    -1 and 0 in a layer that nothing predicts.
    """
    routers = [layer.mlp.router for layer in model.model.layers]
    before = recording.gate_input[:-1]
    with torch.no_grad():
        gates = torch.stack([router.weight for router in routers[1:]]).transpose(1, 2)
        biases = torch.stack([router.bias for router in routers[1:]])[:, None]
        scores = {
            "pre-attention": probabilities(mlp(trained["pre-attention"], recording.layer_input)),
            "cross-layer": probabilities(mlp(trained["cross-layer"], before)),
            "next-gate": torch.softmax(torch.baddbmm(biases, before, gates), dim=-1),
        }
    layers = len(routers)
    out = {}
    for name, score in scores.items():
        best, experts = score.topk(named, dim=-1)
        silent = (0, 0, 0, 0, layers - len(score), 0)  # layers in front that nothing predicts
        experts = functional.pad(experts, silent, value=-1)
        out[name] = experts.transpose(0, 1), functional.pad(best, silent).transpose(0, 1)
    return out


def predictor_info(
    shape: Shape, training: PredictorTraining, split: str
) -> dict[str, PredictionInfo]:
    """Trigger, distance, cost and provenance of each predictor, for the trace's metadata."""
    d, h, e = shape.hidden, training.hidden, shape.experts
    trained = (
        f"Linear({d}→{h}) → SiLU → Linear({h}→{e}), one a layer, weighted BCE "
        f"({ROUTED_WEIGHT:g} routed, {OTHER_WEIGHT:g} not), {training.epochs} epochs of AdamW. "
        f"Trained on {split}. Scores are probabilities, the loss weighting taken out."
    )

    def mlp_info(trigger: Trigger, distance: int, reads: str) -> PredictionInfo:
        return PredictionInfo(
            trigger=trigger,
            distance=distance,
            flops=2 * (d * h + h * e),
            bytes=BYTES_PER_WEIGHT * (d * h + h + h * e + e),
            description=f"{reads}. {trained}",
        )

    return {
        "pre-attention": mlp_info("layer_start", 0, "Reads the layer's own input norm"),
        "cross-layer": mlp_info("gate_input", 1, "Reads the gate input of the layer before"),
        "next-gate": PredictionInfo(
            trigger="gate_input",
            distance=1,
            flops=2 * d * e,
            bytes=BYTES_PER_WEIGHT * (d * e + e),
            description="The layer's own gate on the gate input of the layer before, untrained. "
            "Scores are the softmax over all experts.",
        ),
    }
