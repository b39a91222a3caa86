"""From a trained model to the trace: predictors' training text, generation, recording."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from traces.make_sample.corpus import Corpus
from traces.make_sample.model import model_spec
from traces.make_sample.predictors import (
    Examples,
    Weights,
    predict,
    predictor_info,
    train_predictors,
)
from traces.make_sample.recipe import Recipe
from traces.make_sample.record import generate, observe
from traces.make_sample.train import save
from traces.trace import DECODE, PREFILL, Array, Prediction, Trace, TraceMeta

PREDICTOR_SPLIT = (
    "teacher-forced text of the split 'predict': whole documents that neither the language model, "
    "nor its validation, nor any prompt of this trace saw"
)


def fit_predictors(
    model: Any, corpus: Corpus, recipe: Recipe, work: Path
) -> tuple[dict[str, Weights], dict[str, list[float]]]:
    """The trained predictors and their losses; kept in ``work`` and read from there again."""
    path = work / "predictors.pt"
    training, count = recipe.predictors, recipe.sampling.predictor_windows
    settings = {"training": asdict(training), "windows": count, "steps": recipe.training.steps}
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["settings"] == settings:
            return saved["weights"], saved["losses"]
    length = recipe.training.length
    windows = corpus.windows("predict", count, length, [recipe.sampling.seed, 0xF])
    examples = Examples.gather(list(observe(model, windows)))
    weights, losses = train_predictors(examples, recipe.shape, training)
    save(path, {"settings": settings, "weights": weights, "losses": losses})
    return weights, losses


def rounded(scores: Array) -> Array:
    """float16 with 8 significant bits in place of 11: a third smaller once compressed.

    Rounding is monotonic, so scores in order stay in order.
    """
    bits = scores.astype(np.float16).view(np.uint16).astype(np.uint32)
    kept: Array = ((bits + 4) & ~np.uint32(7)).astype(np.uint16).view(np.float16)
    return kept


def record_trace(
    model: Any,
    trained: dict[str, Weights],
    corpus: Corpus,
    recipe: Recipe,
    recorded: dict[str, str],
) -> Trace:
    """Generate from held-out prompts and gather every row, request after request."""
    sampling = recipe.sampling
    prompts, _ = corpus.prompts(sampling.requests, sampling.prompt, sampling.seed)
    batches = []
    for start in range(0, sampling.requests, sampling.batch):
        chosen = torch.from_numpy(prompts[start : start + sampling.batch])
        made = generate(
            model, chosen, sampling.new_tokens, sampling.temperature, sampling.seed + start
        )
        named = predict(model, trained, made.recording, sampling.named)
        batches.append((made, named))

    length = sampling.prompt + sampling.new_tokens
    phase = np.full(length, DECODE, np.int8)
    phase[: sampling.prompt] = PREFILL
    info = predictor_info(recipe.shape, recipe.predictors, PREDICTOR_SPLIT)

    def join(parts: list[torch.Tensor]) -> Array:
        joined: Array = torch.cat(parts).numpy()
        return joined

    return Trace(
        path=None,
        meta=TraceMeta(
            model=model_spec(recipe.shape, recipe.name), recorded=recorded, predictions=info
        ),
        request_id=np.repeat(np.arange(sampling.requests, dtype=np.int32), length),
        position=np.tile(np.arange(length, dtype=np.int32), sampling.requests),
        phase=np.tile(phase, sampling.requests),
        token_id=join([made.tokens.flatten() for made, _ in batches]).astype(np.int32),
        experts=join([made.recording.experts for made, _ in batches]).astype(np.int16),
        weights=rounded(join([made.recording.weights for made, _ in batches])),
        predictions={
            key: Prediction(
                info[key],
                join([named[key][0] for _, named in batches]).astype(np.int16),
                rounded(join([named[key][1] for _, named in batches])),
            )
            for key in info
        },
    )
