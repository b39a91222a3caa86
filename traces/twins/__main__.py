"""``python -m prefetch_sim.traces.twins NAME --work DIR -o OUT.parquet``: a bundled trace."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prefetch_sim.traces.errors import did_you_mean
from prefetch_sim.traces.format import write_trace
from prefetch_sim.traces.trace import TraceError
from prefetch_sim.traces.twins.card import figures, write_card
from prefetch_sim.traces.twins.corpus import Corpus, SampleError
from prefetch_sim.traces.twins.make import (
    first_requests,
    make_model,
    record,
    set_threads,
    with_predictors,
)
from prefetch_sim.traces.twins.recipe import SMALL, TWINS, Recipe


def make(recipe: Recipe, work: Path, out: Path) -> None:
    """Run every stage; those whose result lies in ``work`` already are read from there."""
    work.mkdir(parents=True, exist_ok=True)
    corpus = Corpus.build(work, recipe.vocab, recipe.small)
    print(f"{recipe.name}: {len(corpus.documents)} documents; training", flush=True)
    log = make_model(recipe, corpus, work)
    print("recording, training predictors", flush=True)
    loaded, learned, trace = record(recipe, corpus, work)
    write_trace(work / "whole.parquet", with_predictors(recipe, learned, trace, work))
    sample = first_requests(work / "whole.parquet", recipe.sampling.kept)
    write_trace(out, sample)
    numbers = figures(recipe, corpus, model=loaded.model, log=log, learned=learned, trace=sample)
    write_card(out, numbers, out.stat().st_size)
    print(f"wrote {out}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prefetch_sim.traces.twins", description=__doc__
    )
    parser.add_argument("name", help="which: " + ", ".join(r.name for r in (*TWINS, SMALL)))
    parser.add_argument("--work", type=Path, required=True, help="checkpoints; continued from")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the trace, .parquet")
    parser.add_argument("--steps", type=int, help="training steps (default: the recipe's)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    given = parser.parse_args(arguments)
    set_threads(given.threads)
    recipes = {recipe.name: recipe for recipe in (*TWINS, SMALL)}
    try:
        if given.name not in recipes:
            raise SampleError(f"no twin {given.name!r}{did_you_mean(given.name, recipes)}")
        recipe = recipes[given.name]
        if given.steps is not None:
            recipe = recipe.with_steps(given.steps)
        make(recipe, given.work, given.out)
    except (SampleError, TraceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
