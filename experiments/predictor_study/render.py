"""docs/predictors.md from the results: every number in it comes from them."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]

# Shown in this order: what it reads, how far ahead, how it is trained.
ORDER = (
    "own-gate",
    "early-gate",
    "pre-attention",
    "pre-attention-ranking-bce",
    "pre-attention-mse",
    "pre-attention-focal",
    "pre-attention-kl",
    "pre-attention-arch1",
    "pre-attention-arch1-ranking-bce",
    "pre-attention-linear",
    "pre-attention-gate-kl",
    "pre-attention-25pc",
    "pre-attention-50pc",
    "pre-attention-1",
    "pre-attention-2",
    "next-gate",
    "next-gate-2",
    "next-gate-3",
    "cross-layer",
    "cross-layer-ranking-bce",
    "cross-layer-kl",
    "cross-layer-gate-kl",
    "cross-layer-2",
    "cross-layer-3",
    "both-inputs",
    "cross-layer-2_avg_pre-attention",
    "cross-layer-2_or_pre-attention",
    "combined",
    "token-table",
    "transition",
    "previous-token",
    "activation-matrix",
    "layer-frequency",
)
LOSS_NAMES = {"mse", "focal", "kl", "ranking-bce"}
# Table 4 of arXiv 2511.10676, first layer, Arch 1: exact, over-provisioned, top-1 (percent).
PAPER = {
    "mini-deepseek-v2-lite": (93.03, 98.65, 98.85),
    "mini-qwen3-30b-a3b": (94.69, 98.81, 99.55),
    "mini-phi-mini-moe": (97.62, 99.05, 98.95),
}


def render(results: list[Result]) -> str:
    """The whole page."""
    trained = [r for r in results if "pre-attention-ranking-bce" in r["predictors"]]
    lines = [
        "# How well can experts be predicted, and what does it depend on?",
        "",
        "Written by `python -m prefetch_sim.experiments.predictor_study render` from "
        "`experiments/results/predictors/`; `measure NAME --work DIR` makes those anew from what "
        "`python -m prefetch_sim.traces.twins NAME --work DIR` left there.",
        "",
        "Every predictor is trained on whole documents and scored on others, decode tokens only, "
        "with 95 % bootstrap intervals over documents (± half their width). **The models are "
        "small and have seen little text** ([cards](../traces/samples)): how large the gaps are "
        "on the published models has to be measured there (`prefetch-sim trace capture`, `train`, "
        "`predict`, `score`). What the comparison separates holds for any.",
        "",
        "Measured on the whole recordings, of which the bundled traces are the first requests: "
        + ", ".join(f"{r['name']} {r['requests']}" for r in results)
        + " requests. A card's scores are of those bundled.",
        "",
        "- *slots*: share of the routed experts among the first k named. *exact*: share of the "
        "sets named whole. *+extra*: the same with as many loaded as the paper loads.",
        "- Networks are Arch 2 of arXiv 2511.10676 (Linear → SiLU → Linear, width 256) with "
        "weighted BCE, distance 0 (`pre-attention`) or 1 (`cross-layer`, `next-gate`), unless the "
        "name says another shape, loss or distance.",
        "- `own-gate` is a control and must read 100 %. `early-gate` is the layer's own gate on "
        "its pre-attention input, `next-gate` on the gate input of the layer before (Fate, "
        "Mixtral-offloading): both untrained. Their scores are a softmax over all experts, no "
        "chances of being routed to, so their calibration error says little.",
        "- `pre-attention-25pc` learned from a quarter of the documents. Two names joined by "
        "`avg` are averaged in log odds, by `or` the union of what both name. FLOPs are of one "
        "token and layer, µs what that took on the CPU that trained it.",
        "",
        "## Answers",
        "",
        *_answers(trained),
        "",
    ]
    for result in results:
        lines += _tables(result)
    return "\n".join(lines).rstrip() + "\n"


def _answers(results: list[Result]) -> list[str]:
    return [
        "### How much of pre-attention's lead over cross-layer is training, how much the input?",
        "",
        "Slot recall at k, decode, over the layers that all of them speak of. *From scratch*: "
        "Arch 2, random at first. *From the gate*: the layer's own gate plus an Arch 2 that "
        "learns to correct it.",
        "",
        "| | input | untrained gate | from scratch | from the gate |",
        "|---|---|---|---|---|",
        *(row for result in results for row in _grid(result)),
        "",
        "What the literature reports as pre-attention's lead compares a trained predictor on the "
        "same layer's input with an untrained gate one layer before. Taken apart:",
        "",
        "| | whole lead, from scratch | by training | by the input | whole lead, from the gate "
        "| by training | by the input |",
        "|---|---|---|---|---|---|---|",
        *(_lead(result) for result in results),
        "",
        *_reading(results),
        "",
        "### Does trained pre-attention beat the untrained next gate at equal budget?",
        "",
        "| | next gate | pre-attention from scratch on 25 % | 50 % | all of the text "
        "| pre-attention from the gate |",
        "|---|---|---|---|---|---|",
        *(_curve(result) for result in results),
        "",
        "From scratch it has to learn from some ten thousand tokens what the gate's matrix knows "
        "already, and in models trained this briefly one layer changes little of what the next "
        "gate reads, so the untrained gate is hard to beat; the curve over text still rises. "
        "Started from the gate's matrix, it learns what is left.",
        "",
        "### What does the ranking loss add?",
        "",
        "Points of slot recall at k and of exact sets, ranking-aware BCE over weighted BCE:",
        "",
        "| | Arch 1 slots | Arch 1 exact | Arch 2 slots | Arch 2 exact | cross-layer slots |",
        "|---|---|---|---|---|---|",
        *(_ranking(result) for result in results),
        "",
        "### What is layer 0 worth?",
        "",
        "At layer 0 the input is the token's embedding (in DeepSeek's topology one dense layer "
        "later), so a table of tokens competes. Slot recall at k:",
        "",
        "| | pre-attention, layer 0 | token table, layer 0 | pre-attention, first third after it "
        "| last third |",
        "|---|---|---|---|---|",
        *(_layer_0(result) for result in results),
        "",
        "### Which metric is the paper's 93 %?",
        "",
        "The paper gives three figures for its first layer and calls the first exact match. Ours, "
        "first MoE layer, Arch 1 with its ranking loss:",
        "",
        "| | paper: exact, over-provisioned, top-1 | exact at k | slots at k | exact at k + extra "
        "| slots at k + extra | top-1 |",
        "|---|---|---|---|---|---|---|",
        *(_paper(result) for result in results),
        "",
        *_verdict(results),
    ]


def _grid(result: Result) -> list[str]:
    """Untrained, trained from scratch and from the gate; the layer before, and the same layer."""
    before = ("next-gate", "cross-layer", "cross-layer-gate-kl")
    same = ("early-gate", "pre-attention", "pre-attention-gate-kl")
    return [
        f"| {result['name']} | {where} | "
        + " | ".join(_cell(result, name, "common", "slots") for name in names)
        + " |"
        for where, names in (("layer before", before), ("same layer", same))
    ]


def _lead(result: Result) -> str:
    cells = []
    far = _share(result, "next-gate", "common", "slots")
    for start in ("", "-gate-kl"):
        cross = _share(result, f"cross-layer{start}", "common", "slots")
        near = _share(result, f"pre-attention{start}", "common", "slots")
        cells += [near - far, cross - far, near - cross]
    return f"| {result['name']} | " + " | ".join(f"{cell:+.1f}" for cell in cells) + " |"


def _reading(results: list[Result]) -> list[str]:
    """In words, the ranges of the table above."""

    def span(values: list[float]) -> str:
        return f"{min(values):+.1f} to {max(values):+.1f}"

    def gap(first: str, second: str) -> list[float]:
        return [
            _share(r, first, "common", "slots") - _share(r, second, "common", "slots")
            for r in results
        ]

    return [
        f"Like compared with like, the later input is worth {span(gap('early-gate', 'next-gate'))} "
        f"points untrained, {span(gap('pre-attention', 'cross-layer'))} from scratch and "
        f"{span(gap('pre-attention-gate-kl', 'cross-layer-gate-kl'))} from the gate; training "
        f"the same input is worth {span(gap('cross-layer', 'next-gate'))} from scratch and "
        f"{span(gap('cross-layer-gate-kl', 'next-gate'))} from the gate one layer before, "
        f"{span(gap('pre-attention-gate-kl', 'early-gate'))} from the gate in the same layer.",
    ]


def _curve(result: Result) -> str:
    names = (
        "next-gate",
        "pre-attention-25pc",
        "pre-attention-50pc",
        "pre-attention",
        "pre-attention-gate-kl",
    )
    return (
        f"| {result['name']} | "
        + " | ".join(_cell(result, name, "common", "slots") for name in names)
        + " |"
    )


def _ranking(result: Result) -> str:
    pairs = (
        ("pre-attention-arch1", "slots"),
        ("pre-attention-arch1", "exact"),
        ("pre-attention", "slots"),
        ("pre-attention", "exact"),
        ("cross-layer", "slots"),
    )
    cells = (
        _share(result, f"{name}-ranking-bce", "common", metric)
        - _share(result, name, "common", metric)
        for name, metric in pairs
    )
    return f"| {result['name']} | " + " | ".join(f"{cell:+.1f}" for cell in cells) + " |"


def _layer_0(result: Result) -> str:
    cells = (
        _cell(result, "pre-attention", "layer 0", "slots"),
        _cell(result, "token-table", "layer 0", "slots"),
        _cell(result, "pre-attention", "first third", "slots"),
        _cell(result, "pre-attention", "last third", "slots"),
    )
    return f"| {result['name']} | " + " | ".join(cells) + " |"


def _paper(result: Result) -> str:
    exact, more, top = PAPER[result["name"]]
    metrics = ("exact", "slots", "exact_loaded", "slots_loaded", "top_1")
    name = "pre-attention-arch1-ranking-bce"
    cells = " | ".join(_cell(result, name, "layer 0", metric) for metric in metrics)
    return f"| {result['name']} | {exact}, {more}, {top} | {cells} |"


def _verdict(results: list[Result]) -> list[str]:
    """Which reading of the paper's first figure goes with its top-1 figure."""
    return [
        "Two of the paper's three figures tell. The expert with the highest score is far more "
        "often right than the one at place k, so the mean error of a slot must be several times "
        "the error of top-1:",
        "",
        "| | paper, its first figure read as exact set | read as slot recall | measured here |",
        "|---|---|---|---|",
        *(_errors(result) for result in results),
        "",
        "Read as exact sets (each slot then right with the k-th root of it, were slots "
        "independent), the paper's slots would miss hardly more often than its top-1. Read as "
        "slot recall they miss several times as often, as they do here. So the 93 % is most likely "
        "**slot recall at k**, which is also what Fate's 78.8 % is read as. A measurement on a "
        "model of the published size would settle it.",
    ]


def _errors(result: Result) -> str:
    """Error of a slot over the error of top-1."""
    first, _, top = PAPER[result["name"]]
    k = result["topology"][2]
    as_exact = 100 * (1 - (first / 100) ** (1 / k)) / (100 - top)
    as_slots = (100 - first) / (100 - top)
    name = "pre-attention-arch1-ranking-bce"
    slots, ours = (100 - _share(result, name, "layer 0", m) for m in ("slots", "top_1"))
    return f"| {result['name']} | {as_exact:.1f} | {as_slots:.1f} | {slots / ours:.1f} |"


def _tables(result: Result) -> list[str]:
    layers, experts, k = result["topology"]
    loaded = result["loaded"]
    groups = ("layer 0", "first third", "second third", "last third")
    lines = [
        f"## {result['name']}",
        "",
        f"{layers} MoE layers × {experts} experts, top-{k}; {loaded} loaded with extra. "
        f"{result['decode_tokens']:,} decode tokens of {result['documents']} documents"
        + (
            f"; predictors learned on 70 % of {result['learned_tokens']:,} tokens of others."
            if result["learned_tokens"]
            else "; the recorded predictors, and those that count, learned on 70 % of the "
            "requests and scored on 20 %."
        ),
        "",
        f"| predictor | loss | slots, layers ≥ 3 | exact | +extra slots | exact | top-1 | "
        f"{' | '.join(f'slots / exact, {g}' for g in groups)} | calibration error | FLOPs | µs |",
        "|---|---|---|---|---|---|---|" + "---|" * (len(groups) + 3),
    ]
    known = [name for name in ORDER if name in result["predictors"]]
    for name in known:
        found = result["predictors"][name]
        cells = [
            _cell(result, name, "common", metric)
            for metric in ("slots", "exact", "slots_loaded", "exact_loaded", "top_1")
        ]
        cells += [_both(result, name, group) for group in groups]
        time = found["time_us"]
        lines.append(
            f"| `{name}` | {_loss(name)} | "
            + " | ".join(cells)
            + f" | {100 * found['calibration_error']:.1f} | {found['flops']:,.0f} "
            + f"| {'–' if time is None else format(time, '.0f')} |"
        )
    return [*lines, ""]


def _loss(name: str) -> str:
    if name.partition("-")[0] in ("own", "early", "next") or "_" in name:
        return "–"
    for loss in LOSS_NAMES:
        if name.endswith(loss):
            return loss
    trained = name.startswith(("pre-attention", "cross-layer", "both-inputs"))
    return "weighted-bce" if trained else "counts"


def _share(result: Result, name: str, group: str, metric: str) -> float:
    """In percent."""
    return 100 * float(result["predictors"][name][group][metric][0])


def _both(result: Result, name: str, group: str) -> str:
    if result["predictors"][name][group]["slots"] is None:
        return "–"
    return " / ".join(_cell(result, name, group, metric) for metric in ("slots", "exact"))


def _cell(result: Result, name: str, group: str, metric: str) -> str:
    share = result["predictors"][name][group][metric]
    if share is None:
        return "–"
    value, low, high = share
    return f"{100 * value:.1f}" if low is None else f"{100 * value:.1f} ± {50 * (high - low):.1f}"
