"""Trains the language model; continues from its checkpoint."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from prefetch_sim.traces.twins.corpus import Corpus, SampleError, Split
from prefetch_sim.traces.twins.models import build_model
from prefetch_sim.traces.twins.recipe import Recipe, Training


def learning_rate(step: int, training: Training) -> float:
    """Linear warm-up, then a cosine down to a tenth of the peak."""
    if step < training.warmup:
        return training.peak_rate * (step + 1) / training.warmup
    done = (step - training.warmup) / max(1, training.steps - training.warmup)
    return training.peak_rate * (0.55 + 0.45 * math.cos(math.pi * done))


def balance_loss(router_logits: tuple[torch.Tensor, ...], experts: int, top_k: int) -> torch.Tensor:
    """Mean over layers of the Switch balancing loss; top_k where every expert is used alike.

    The model class pools all layers before it multiplies, which lets one layer's dead expert
    hide behind another layer's busy one; so it is called layer by layer.
    """
    losses = [load_balancing_loss_func((one,), experts, top_k) for one in router_logits]
    return torch.stack(losses).mean()


def language_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next token, in nats. logits [B, S, V], ids [B, S]."""
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def evaluate(model: Any, corpus: Corpus, split: Split, training: Training) -> dict[str, float]:
    """Loss over fixed windows of a split, per domain and over all of them."""
    model.eval()
    count = training.evaluate_windows
    windows = torch.from_numpy(corpus.windows(split, count, training.length, [training.seed, 0xE]))
    with torch.no_grad():
        losses = [float(language_loss(model(input_ids=w[None]).logits, w[None])) for w in windows]
    domains = corpus.domains
    by_domain = {d: losses[i :: len(domains)] for i, d in enumerate(domains)}
    model.train()
    return {"all": sum(losses) / count} | {d: sum(v) / len(v) for d, v in by_domain.items()}


def save(path: Path, content: dict[str, Any]) -> None:
    """Written beside and renamed, so a crash leaves the earlier checkpoint whole."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)


def train(corpus: Corpus, recipe: Recipe, work: Path) -> tuple[Any, list[Any]]:
    """The trained model (eval mode) and its log: one record per evaluation."""
    training = recipe.training
    model = build_model(recipe, training.seed)
    experts, top_k = recipe.topology
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": training.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        fused=True,
    )
    path = work / "checkpoint.pt"
    step, seconds, log = 0, 0.0, []
    settings = {
        "family": recipe.family,
        "config": recipe.config,
        "vocab": recipe.vocab,
        "training": asdict(training),
    }
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["settings"] != settings:
            raise SampleError(f"{path}: made with other settings; give another --work folder")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, seconds, log = saved["step"], saved["seconds"], saved["log"]

    def checkpoint() -> None:
        content = {
            "settings": settings,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "seconds": seconds,
            "log": log,
        }
        save(path, content)

    def report(loss: float | None) -> None:
        held_out = evaluate(model, corpus, "validation", training)
        log.append({"step": step, "seconds": seconds, "train": loss, "held_out": held_out})
        print(json.dumps(log[-1]), flush=True)

    model.train()
    last_saved = time.monotonic()
    if step == 0:
        report(None)
    recent: list[float] = []
    while step < training.steps:
        started = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, training)
        ids = torch.from_numpy(
            corpus.windows("train", training.batch, training.length, [training.seed, 1, step])
        )
        out = model(input_ids=ids, use_cache=False, output_router_logits=True)
        loss = language_loss(out.logits, ids)
        balance = balance_loss(out.router_logits, experts, top_k)
        (loss + training.balance * balance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        recent.append(float(loss.detach()))
        seconds += time.monotonic() - started
        if step % training.evaluate_every == 0 or step == training.steps:
            report(sum(recent) / len(recent))
            recent = []
        if time.monotonic() - last_saved > training.checkpoint_seconds or step == training.steps:
            checkpoint()
            last_saved = time.monotonic()
    return model.eval(), log
