"""Figures of a trace: how its experts are used, and how well its predictors guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prefetch_sim.experiments.plots.style import (
    COLOURS,
    NONE,
    from_zero,
    legend,
    look,
    palette,
    panels,
    remove,
    save,
)
from prefetch_sim.traces.info import expert_use
from prefetch_sim.traces.lab.scoring import Metric, count_hits
from prefetch_sim.traces.trace import PHASES, Array, Trace

LINES = 5  # layers drawn on their own, spread over the model
METRICS: tuple[Metric, ...] = ("slots", "exact")


def expert_invocations(trace: Trace) -> Figure | str:
    """Heatmap of expert use, and how it spreads (arXiv 2511.10676, Fig. 2)."""
    share = relative_use(trace)
    layers, experts = share.shape
    figure, (heat, spread) = panels(
        2, "How the experts are used", [*_notes(trace), "1: an equal share for every expert"]
    )
    top = max(2.0, float(np.quantile(share, 0.995)))
    image = heat.imshow(share, aspect="auto", cmap="viridis", vmin=0, vmax=top, rasterized=True)
    heat.grid(visible=False)
    heat.set(xlabel="expert", ylabel="MoE layer", title="Share of its layer's uses")
    heat.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=heat, extend="max", label="uses over an equal share")
    ranked = -np.sort(-share, axis=1)
    rank = np.arange(1, experts + 1)
    spread.fill_between(
        rank, ranked.min(axis=0), ranked.max(axis=0), color=COLOURS[0], alpha=0.18, label="layers"
    )
    for layer, colour in zip(_some(layers), COLOURS):
        spread.plot(rank, ranked[layer], color=colour, label=f"layer {layer}")
    spread.axhline(1, color=NONE, linestyle="--", label="equal")
    spread.set(xlabel="expert, the most used first", title="The same, sorted")
    from_zero([spread])
    legend(figure, [spread])
    return figure


def sorted_affinity(trace: Trace) -> Figure | str:
    """Routing weights and predicted scores, the best first (arXiv 2511.10676, Fig. 5)."""
    if trace.weights is None and not trace.predictions:
        return "the trace has neither weights nor predictions"
    sets: list[tuple[str, Array, Array]] = []
    if trace.weights is not None:
        sets.append(("routed", trace.weights, trace.experts[:, :, 0] >= 0))
    sets += [
        (name, prediction.scores, prediction.experts[:, :, 0] >= 0)
        for name, prediction in trace.predictions.items()
    ][:5]
    figure, axes = panels(
        len(sets), "Scores of the experts named, the best first", _notes(trace), sharey=False
    )
    for panel, (name, values, there) in zip(axes, sets):
        place = np.arange(1, values.shape[2] + 1)
        every = values[there].astype(np.float32)
        low, high = np.quantile(every, (0.1, 0.9), axis=0)
        panel.fill_between(place, low, high, color=NONE, alpha=0.25, label="10 to 90 % of tokens")
        for layer, colour in zip(_some(values.shape[1]), COLOURS):
            chosen = values[there[:, layer], layer].astype(np.float32)
            if len(chosen):
                panel.plot(place, chosen.mean(axis=0), color=colour, label=f"layer {layer}")
        panel.plot(place, every.mean(axis=0), color="black", linestyle="--", label="all layers")
        panel.set(xlabel="place", title="weight of the routed" if name == "routed" else name)
        panel.set_xticks(place)
    from_zero(axes)
    legend(figure, axes)
    return figure


def accuracy_by_layer(trace: Trace) -> Figure | str:
    """Slot recall and exact set of each predictor (arXiv 2511.10676, Figs. 6 and 7)."""
    if not trace.predictions:
        return "the trace records no predictor"
    k = trace.model.top_k
    found = {name: count_hits(trace, name) for name in trace.predictions}
    there = [phase for code, phase in enumerate(PHASES) if (trace.phase == code).any()]
    figure, axes = panels(
        2 * len(there),
        f"How well predictors name the {k} experts of each layer",
        [*_notes(trace), "layer 0 reads the token's embedding alone"],
        sharex=True,
        sharey=True,
    )
    styles = palette(list(found))
    drawn = [(phase, metric) for phase in there for metric in METRICS]
    for panel, (phase, metric) in zip(axes, drawn):
        for name, hits in found.items():
            share = hits.by_layer(metric, k, phase)
            style = styles[name] | {"markersize": 3.5}
            panel.plot(np.arange(len(share)), share, label=name, **style)
        panel.axvline(0, color=NONE, linewidth=0.8, linestyle=":")
        words = "slot recall" if metric == "slots" else "exact set"
        panel.set(xlabel="MoE layer", title=f"{phase}: {words}")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_ylim(0, 1.02)
    legend(figure, axes)
    return figure


def recall_against_loaded(trace: Trace) -> Figure | str:
    """What loading more than k buys: recall of the routed experts among the first n named."""
    if not trace.predictions:
        return "the trace records no predictor"
    k, experts = trace.model.top_k, trace.model.experts
    found = {name: count_hits(trace, name) for name in trace.predictions}
    figure, axes = panels(
        2,
        "What loading more experts buys",
        [*_notes(trace), "all phases", "layers from 1 on"],
        sharey=True,
    )
    styles = palette(list(found))
    widest = max(hits.width for hits in found.values())
    for panel, metric in zip(axes, METRICS):
        for name, hits in found.items():
            loaded = np.arange(1, hits.width + 1)
            share = [hits.pooled(metric, int(n), hits.later) for n in loaded]
            panel.plot(loaded, share, label=name, **styles[name])
        if metric == "slots":
            loaded = np.arange(1, widest + 1)
            panel.plot(loaded, loaded / experts, color=NONE, linestyle="--", label="by chance")
        panel.axvline(k, color=NONE, linewidth=0.8, linestyle=":")
        panel.text(k, 1.03, f"k = {k}", size=7, color="#555555", ha="center")
        words = "slot recall" if metric == "slots" else "exact set"
        panel.set(xlabel="experts loaded a layer", title=words)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_ylim(0, 1.08)
    legend(figure, axes)
    return figure


FIGURES: dict[str, Callable[[Trace], Figure | str]] = {
    "expert_invocations": expert_invocations,
    "sorted_affinity": sorted_affinity,
    "accuracy_by_layer": accuracy_by_layer,
    "recall_against_loaded": recall_against_loaded,
}


def draw_trace(trace: Trace, target: Path) -> Iterator[tuple[str, str | None]]:
    """Draw all of them into ``target``; gives each name, and why it was skipped if it was."""
    target.mkdir(parents=True, exist_ok=True)
    for name, make in FIGURES.items():
        with look():
            figure = make(trace)
            if isinstance(figure, str):
                remove(target / name)
                yield name, figure
            else:
                save(figure, target / name)
                yield name, None


def relative_use(trace: Trace) -> Array:
    """Uses of each expert over an equal share of its layer's: float [L, E], 0 where none routed."""
    use = expert_use(trace).astype(np.float64)
    total = use.sum(axis=1, keepdims=True)
    shares: Array = np.divide(use * use.shape[1], total, out=np.zeros_like(use), where=total > 0)
    return shares


def _some(layers: int) -> list[int]:
    """Up to LINES layers, first and last among them."""
    chosen = np.linspace(0, layers - 1, min(layers, LINES)).round()
    return [int(layer) for layer in np.unique(chosen)]


def _notes(trace: Trace) -> list[str]:
    layers, experts, k = trace.model.topology
    return [
        trace.model.name,
        f"{layers} MoE layers × {experts} experts, top-{k}",
        f"{trace.tokens:,} tokens",
    ]
