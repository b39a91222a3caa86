"""The study's tables and sentences in Markdown, from its CSV files and the models alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from prefetch_sim.experiments import studies
from prefetch_sim.experiments.documents import table
from prefetch_sim.sim.config.models import load_model

FOLDER = Path(__file__).parent
SWEEPS = {
    name: FOLDER / f"{name}.yaml" for name in ("gpt-oss-20b", "qwen3-30b-a3b", "gpt-oss-120b")
}
RESULTS = studies.RESULTS / "experts_on_gpu"

MODELS = {
    "gpt-oss-20b": "gpt-oss-20b, MXFP4",
    "qwen3-30b-a3b": "Qwen3-30B-A3B, Q4_K_M",
    "gpt-oss-120b": "gpt-oss-120b, MXFP4",
}
CARDS = {
    "rtx-2080": "RTX 2080, 8 GB",
    "rtx-3060-12gb": "RTX 3060, 12 GB",
    "rtx-4070-ti compute.memory_gib=16": "RTX 4070 Ti with 16 GB",
    "rtx-3090": "RTX 3090, 24 GB",
    "rtx-4090": "RTX 4090, 24 GB",
    "rtx-5090": "RTX 5090, 32 GB",
}
IDEAL = "ideal overlap=grouped reserve_mib=700"
LAYERS, POPULAR = "layers", "popular"
COPY, CPU, CHEAPEST = "copy", "cpu", "cheapest"
PLACEMENTS = {
    LAYERS: "whole layers, rest on the CPU",
    POPULAR: "most used experts, rest on the CPU",
    COPY: "LRU, misses copied",
    CPU: "LRU, misses on the CPU, copied behind",
    CHEAPEST: "LRU, misses whichever is faster",
}
_MISSES = {"load": COPY, "policy=cpu then=load": CPU, "policy=cheapest then=load": CHEAPEST}
ENOUGH = 0.02  # a lead that the tables call one


class Fit(NamedTuple):
    """What comes of a model on a card whose GPU holds as many of its experts as fit."""

    layers: int  # whole ones
    room: float  # in layers, parts of them included
    speed: dict[str, float]  # tokens/s, by placement, with an engine that can do it
    ideal: dict[str, float]  # with one that costs nothing
    hits: dict[str, float]


class Results(NamedTuple):
    sweeps: dict[str, pd.DataFrame]

    def on(self, model: str, card: str) -> pd.DataFrame:
        frame = self.sweeps[model]
        return frame[frame["hardware"] == card]

    def by_layers(self, model: str, card: str) -> pd.Series[float]:
        """Tokens/s with llama.cpp, by how many of the last layers' experts are on the GPU."""
        frame = self.on(model, card)
        kinds = frame["cache.static"].map(_kind)
        chosen = frame[(frame["runtime"] == "llama.cpp") & kinds.isin(["none", LAYERS])]
        layers = (chosen["static_experts"] / load_model(model).experts).round().astype(int)
        found = pd.Series((1000 / chosen["ms"]).to_numpy(), index=layers.to_numpy())
        return found[~found.index.duplicated()].sort_index()

    def fit(self, model: str, card: str) -> Fit:
        frame, spec = self.on(model, card), load_model(model)
        full = frame[frame["cache.static"].isin(["layers=last fill", "popular=fill"])]
        lru = frame[frame["cache.warm"] == "first"]
        speed: dict[str, float] = {}
        ideal: dict[str, float] = {}
        hits: dict[str, float] = {}
        named = [(_kind(row["cache.static"]), row) for _, row in full.iterrows()]
        named += [(_MISSES[row["misses"]], row) for _, row in lru.iterrows()]
        for name, row in named:
            into = ideal if row["runtime"] == IDEAL else speed
            into[name] = 1000 / row["ms"]
            hits[name] = row["hit_rate"]
        whole = full[full["cache.static"] == "layers=last fill"]["static_experts"].iloc[0]
        room = float(full["cached"].iloc[0]) * spec.layers
        return Fit(round(whole / spec.experts), room, speed, ideal, hits)


def _kind(static: str) -> str:
    return LAYERS if static.startswith("layers") else POPULAR if static != "none" else "none"


def read(folder: Path) -> Results:
    return Results({name: studies.read(folder, name) for name in SWEEPS})


def tables(results: Results) -> dict[str, str]:
    return {
        "answer": _answer(results),
        "best": _best(results),
        "ideal": _ideal(results),
        "steps": _steps(results),
    }


def parts(results: Results) -> dict[tuple[str, str], Fit]:
    """Of those that do not fit whole."""
    found = {(m, c): results.fit(m, c) for m in MODELS for c in CARDS}
    return {at: fit for at, fit in found.items() if fit.layers < load_model(at[0]).layers}


def winner(speed: dict[str, float]) -> str:
    """The first of ``PLACEMENTS`` that is within ``ENOUGH`` of the fastest."""
    most = max(speed.values())
    return next(name for name in PLACEMENTS if speed[name] >= (1 - ENOUGH) * most)


def _answer(results: Results) -> str:
    fits = parts(results)
    popular = {at: fit.speed[POPULAR] / fit.speed[LAYERS] - 1 for at, fit in fits.items()}
    copy = {at: fit.speed[COPY] / fit.speed[LAYERS] - 1 for at, fit in fits.items()}
    ideal = {at: fit.ideal[COPY] / fit.ideal[LAYERS] - 1 for at, fit in fits.items()}
    best = [winner(fit.speed) for fit in fits.values()]
    free = [winner(fit.ideal) for fit in fits.values()]
    hybrid = {
        at: max(fit.ideal[CPU], fit.ideal[CHEAPEST]) / fit.ideal[COPY] for at, fit in fits.items()
    }
    whole = len(MODELS) * len(CARDS) - len(fits)
    half = [
        (s.iloc[-1] / s.iloc[0], s.index[-1] / load_model(m).layers)
        for m, c in fits
        for s in [results.by_layers(m, c)]
    ]
    faster = sum(x > ENOUGH for x in copy.values()), sum(x > ENOUGH for x in ideal.values())
    gain = pd.Series([x for x, _ in half])
    lines = [
        f"**As many as fit.** Each layer more on the GPU is faster, on every card, and the last "
        f"ones gain most. With all that fit, `--n-cpu-moe` is {gain.min():.1f} to {gain.max():.1f} "
        f"times as fast as with all experts on the CPU, on the {len(fits)} pairs of model and card "
        f"that do not fit whole ({whole} do).",
        f"**The most used experts instead of whole layers** gain {_range(popular)} in the same "
        f"memory, median {_percent(pd.Series(popular).median())}. They are chosen by the run's own "
        f"use, so this is more than a choice made beforehand gains; llama.cpp cannot place so.",
        f"**An LRU cache of the same size that copies what it misses** (imp) is faster than whole "
        f"layers (llama.cpp) on {faster[0]} of {len(fits)}. With engines that cost nothing it is "
        f"on {faster[1]}: imp's own work a layer costs what the better placement saves.",
        f"**Fastest of the five placements**, with the engines' costs: {_counted(best)}; with "
        f"engines that cost nothing: {_counted(free)}.",
        f"With such engines an LRU cache whose misses the CPU may compute is "
        f"{min(hybrid.values()):.2f} to {max(hybrid.values()):.2f} times as fast as with copies "
        f"alone ([copy or CPU?](copy-or-cpu.md)).",
        f"**Measured**: {_measured(results)}",
    ]
    return "\n".join(f"- {line}" for line in lines)


_MEASURED = (  # model, card, layers on the GPU, tokens/s, where
    ("qwen3-30b-a3b", "rtx-2080", 12, 36.7, "AlexsJones/llmfit#755, the same CPU"),
    ("gpt-oss-20b", "rtx-2080", 12, 36.4, "AlexsJones/llmfit#774, the same CPU, prompt included"),
    ("gpt-oss-120b", "rtx-5090", 14, 44.2, "a llama.cpp user's, with a Ryzen 9 9900X"),
)


def _measured(results: Results) -> str:
    """What was published of these, and what is simulated."""
    said = []
    for model, card, layers, published, where in _MEASURED:
        on = (
            f"{MODELS[model].split(',')[0]} with {layers} layers on the {CARDS[card].split(',')[0]}"
        )
        here = results.by_layers(model, card)[layers]
        said.append(f"{on}, {published} tokens/s ({where}), here {here:.1f}")
    return "; ".join(said) + ". [More of these](field-check.md)."


def _range(gains: dict[tuple[str, str], float]) -> str:
    return f"{100 * min(gains.values()):.0f} to {_percent(max(gains.values()))}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _counted(names: list[str]) -> str:
    return ", ".join(
        f"“{PLACEMENTS[name]}” on {names.count(name)}" for name in PLACEMENTS if name in names
    )


def _best(results: Results) -> str:
    rows = []
    for model, title in MODELS.items():
        layers = load_model(model).layers
        for card, name in CARDS.items():
            fit = results.fit(model, card)
            head = [f"{title}", name, f"{fit.layers} of {layers}", str(layers - fit.layers)]
            if fit.layers == layers:
                only = f"{fit.speed[LAYERS]:.3g}"
                rows.append([*head, f"**{only}**", "–", "–", "–", "–", "all on the GPU"])
                continue
            best = winner(fit.speed)
            cells = [_bold(fit.speed, key, best) for key in PLACEMENTS]
            rows.append([*head, *cells, PLACEMENTS[best]])
    heads = ["whole layers", "most used", "LRU, copy", "LRU, CPU", "LRU, cheapest"]
    return table(["model", "card", "layers that fit", "N", *heads, "best"], rows)


def _bold(speed: dict[str, float], key: str, best: str) -> str:
    return f"**{speed[key]:.3g}**" if key == best else f"{speed[key]:.3g}"


def _ideal(results: Results) -> str:
    rows = []
    for (model, card), fit in parts(results).items():
        best = winner(fit.ideal)
        hits = [_percent(fit.hits[key]) for key in (LAYERS, POPULAR, COPY)]
        cells = [_bold(fit.ideal, key, best) for key in PLACEMENTS]
        rows.append([MODELS[model], CARDS[card], *cells, *hits])
    heads = ["whole layers", "most used", "LRU, copy", "LRU, CPU", "LRU, cheapest"]
    return table(["model", "card", *heads, "hits: layers", "most used", "LRU, copy"], rows)


def _steps(results: Results) -> str:
    rows = []
    for model, card in parts(results):
        speeds = results.by_layers(model, card)
        shown = ", ".join(f"{n}: {x:.3g}" for n, x in speeds.items())
        rows.append([MODELS[model], CARDS[card], shown])
    return table(["model", "card", "layers on the GPU: tokens/s"], rows)
