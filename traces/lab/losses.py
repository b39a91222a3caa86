"""What predictors are trained to minimise. Formulas of arXiv 2511.10676 unless said otherwise.

Shapes: ``said`` float [..., N, E] what the predictor says of each expert, as a logit; ``routed``
0/1 [..., N, E]; ``logits`` [..., N, E] the router's own scores. Leading dimensions are layers,
each its own predictor: every loss is the sum over them of a mean over N·E, so that no layer's
gradient depends on how many are trained at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

TOP, MIDDLE = 10, 30  # ranks of the router's scores that the paper's weights turn on
WEIGHTS = (3.0, 1.5, 0.5)  # ranks 1-10, 11-30, the rest
RANKING, MARGIN = 0.3, 0.1
FOCUS, BALANCE = 2.0, 0.25  # of the focal loss (Lin et al. 2017); the paper does not state its own


@dataclass(frozen=True)
class Target:
    """What one batch of tokens was routed to."""

    routed: torch.Tensor
    logits: torch.Tensor | None


Loss = Callable[[torch.Tensor, Target], torch.Tensor]


def among_best(logits: torch.Tensor, count: int) -> torch.Tensor:
    """Whether each expert is among the ``count`` that the router scores highest: bool."""
    best = logits.topk(min(count, logits.shape[-1]), dim=-1).indices
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, best, True)


def _mean(values: torch.Tensor) -> torch.Tensor:
    """Over tokens and experts; layers are added up."""
    return values.flatten(-2).mean(dim=-1).sum()


def _bce(said: torch.Tensor, routed: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(said, routed, reduction="none")


def mse(said: torch.Tensor, target: Target) -> torch.Tensor:
    """Squared error of the router's scores, centred: adding a constant to them routes alike."""
    wanted = _logits(target)
    return _mean((said - (wanted - wanted.mean(dim=-1, keepdim=True))) ** 2)


def weighted_bce(said: torch.Tensor, target: Target) -> torch.Tensor:
    """Weight 3 for the router's top 10, 0.5 elsewhere.

    Where fewer than 20 experts exist, or no router scores are there, the top is what was routed.
    """
    weights = _weights(said, target, (WEIGHTS[0], WEIGHTS[2], WEIGHTS[2]))
    return _mean(weights * _bce(said, target.routed))


def focal(said: torch.Tensor, target: Target) -> torch.Tensor:
    """α_t (1 - p_t)^γ BCE, γ = 2, α = 0.25 (Lin et al. 2017)."""
    chance = torch.sigmoid(said)
    right = torch.where(target.routed > 0, chance, 1 - chance)
    balance = torch.where(target.routed > 0, BALANCE, 1 - BALANCE)
    return _mean(balance * (1 - right) ** FOCUS * _bce(said, target.routed))


def ranking_bce(said: torch.Tensor, target: Target) -> torch.Tensor:
    """BCE weighted 3 / 1.5 / 0.5 by rank, plus λ Σ ReLU(m - (ŝ_j - ŝ_k)) over the top pairs.

    j and k are among the top ranks and the router scores j higher than k; ŝ are the predictor's
    scores after the sigmoid; the sum over pairs is averaged over tokens. λ = 0.3, m = 0.1.
    """
    wanted = _logits(target)
    bce = _mean(_weights(said, target, WEIGHTS) * _bce(said, target.routed))
    top = min(top_ranks(said.shape[-1], target), said.shape[-1])
    order = wanted.topk(top, dim=-1).indices
    ours = torch.sigmoid(said).gather(-1, order)
    theirs = wanted.gather(-1, order)
    higher = theirs[..., :, None] > theirs[..., None, :]
    short = functional.relu(MARGIN - (ours[..., :, None] - ours[..., None, :]))
    pairs = (short * higher).sum(dim=(-1, -2)).mean(dim=-1).sum()
    return bce + RANKING * pairs


def distil(said: torch.Tensor, target: Target) -> torch.Tensor:
    """KL divergence of the predictor's softmax from the router's."""
    wanted = functional.log_softmax(_logits(target), dim=-1)
    ours = functional.log_softmax(said, dim=-1)
    return ((wanted.exp() * (wanted - ours)).sum(dim=-1)).mean(dim=-1).sum()


LOSSES: dict[str, Loss] = {
    "mse": mse,
    "weighted-bce": weighted_bce,
    "focal": focal,
    "ranking-bce": ranking_bce,
    "kl": distil,
}
# Those whose scores' level says nothing of where the k-th stands: centred, or left open.
LEVEL_FREE = frozenset({"mse", "kl"})
NEEDS_LOGITS = frozenset({"mse", "ranking-bce", "kl"})
USES_LOGITS = NEEDS_LOGITS | {"weighted-bce"}  # this one where they are there


def top_ranks(experts: int, target: Target) -> int:
    """How many ranks are the top: 10, or as many as are routed where 10 are half of all.

    The paper's 10 is its over-provisioned budget for 64 and 128 experts; of 16 it would call more
    than half of them right.
    """
    if target.logits is None or experts < 2 * TOP:
        return int(target.routed.sum(dim=-1).max())
    return TOP


def _weights(said: torch.Tensor, target: Target, of: tuple[float, float, float]) -> torch.Tensor:
    top = top_ranks(said.shape[-1], target)
    if target.logits is None:
        return torch.where(target.routed > 0, of[0], of[2])
    middle = torch.where(among_best(target.logits, MIDDLE * top // TOP), of[1], of[2])
    return torch.where(among_best(target.logits, top), of[0], middle)


def _logits(target: Target) -> torch.Tensor:
    if target.logits is None:
        raise ValueError("this loss needs the router's logits")
    return target.logits
