"""Every predictor of the laboratory on one twin, trained and scored on documents apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefetch_sim.traces.format import read_trace
from prefetch_sim.traces.lab.counts import KINDS
from prefetch_sim.traces.lab.hybrid import Hybrid
from prefetch_sim.traces.lab.losses import LOSSES
from prefetch_sim.traces.lab.neural import Plan, train
from prefetch_sim.traces.lab.scoring import Hits, Interval, count_hits
from prefetch_sim.traces.lab.trained import Speaker, load_predictor, predict, train_counting
from prefetch_sim.traces.trace import Trace

HIDDEN, EPOCHS = 256, 3
FIRST_COMMON = 3  # every predictor here speaks of layers from this on


def plans() -> list[Plan]:
    """The networks: what they read, how far ahead, their shape and their loss."""
    base = Plan("pre-attention", 0, hidden=HIDDEN, epochs=EPOCHS)
    cross = replace(base, kind="cross-layer", distance=1)
    return [
        *(replace(base, loss=loss) for loss in LOSSES),
        *(replace(base, architecture="arch1", loss=l) for l in ("weighted-bce", "ranking-bce")),
        replace(base, architecture="linear"),
        replace(base, architecture="gate", loss="kl"),
        replace(cross, architecture="gate", loss="kl"),
        *(replace(base, share=share) for share in (0.25, 0.5)),
        replace(base, distance=1),
        replace(base, distance=2),
        *(replace(cross, loss=loss) for loss in ("weighted-bce", "ranking-bce", "kl")),
        replace(cross, distance=2),
        replace(cross, distance=3),
        replace(cross, kind="both-inputs"),
    ]


def measure(work: Path) -> dict[str, Any]:
    """Scores of all of them on the twin in ``work``; predictors trained there are used again."""
    learned, trace = read_trace(work / "learn"), read_trace(work / "trace")
    named = next(iter(trace.predictions.values())).experts.shape[2]
    found = {}
    for speaker in speakers(learned, work / "predictors"):
        trace.predictions[speaker.name] = predict(trace, speaker, named)
    for name in trace.predictions:
        found[name] = summarise(trace, name)
        print(name, found[name]["common"]["slots"], flush=True)
    return {
        "name": trace.model.name,
        "topology": list(trace.model.topology),
        "loaded": named,
        "requests": len(trace.requests),
        "learned_tokens": learned.tokens,
        "decode_tokens": int((trace.phase == 1).sum()),
        "documents": len(set(trace.documents.tolist())),
        "predictors": found,
    }


def measure_recorded(trace: Trace, work: Path) -> dict[str, Any]:
    """Of a trace without states: what it recorded, and what counts on its own other requests."""
    named = next(iter(trace.predictions.values())).experts.shape[2]
    for kind in KINDS:
        folder = work / kind
        train_counting(trace, folder, kind)
        trace.predictions[kind] = predict(trace, load_predictor(folder), named)
    return {
        "name": trace.model.name,
        "topology": list(trace.model.topology),
        "loaded": named,
        "requests": len(trace.requests),
        "learned_tokens": 0,
        "decode_tokens": int((trace.phase == 1).sum()),
        "documents": len(set(trace.documents.tolist())),
        "predictors": {name: summarise(trace, name) for name in trace.predictions},
    }


def speakers(learned: Trace, folder: Path) -> Iterator[Speaker]:
    for plan in plans():
        at = folder / "study" / plan.name
        if not (at / "predictor.json").exists():
            train(learned, at, plan)
        yield load_predictor(at)
    for kind in KINDS:
        at = folder / "study" / kind
        if not (at / "predictor.json").exists():
            train_counting(learned, at, kind)
        yield load_predictor(at)
    far = load_predictor(folder / "study" / "cross-layer-2")
    near = load_predictor(folder / "study" / "pre-attention")
    yield Hybrid(far, near, "average")
    yield Hybrid(far, near, "union")


def summarise(trace: Trace, name: str) -> dict[str, Any]:
    """By group of layers: slots and exact sets among k and among all named, and top-1, decode."""
    hits, info = count_hits(trace, name), trace.predictions[name].info
    calibration = hits.calibration["decode"]
    layers = trace.model.moe_layers
    third = (layers - 1) // 3
    groups = {
        "layer 0": [0],
        "first third": list(range(1, 1 + third)),
        "second third": list(range(1 + third, 1 + 2 * third)),
        "last third": list(range(1 + 2 * third, layers)),
        "common": list(range(FIRST_COMMON, layers)),
    }
    spoken = set(hits.layers)
    found: dict[str, Any] = {
        group: _figures(hits, [l for l in of if l in spoken]) for group, of in groups.items()
    }
    found["prefill"] = _figures(hits, groups["common"], "prefill")
    found["by_layer"] = [
        _plain(hits.slot_recall(hits.top_k, [l], "decode")) if l in spoken else None
        for l in range(layers)
    ]
    return found | {
        "trigger": info.trigger,
        "distance": info.distance,
        "flops": info.flops,
        "bytes": info.bytes,
        "time_us": info.time_us,
        "calibration_error": None if calibration is None else round(calibration, 4),
    }


def _figures(hits: Hits, layers: list[int], phase: str = "decode") -> dict[str, Any]:
    k, all_named = hits.top_k, hits.width
    return {
        "slots": _plain(hits.slot_recall(k, layers, phase)),
        "exact": _plain(hits.exact_set(k, layers, phase)),
        "top_1": _plain(hits.top_1(layers, phase)),
        "slots_loaded": _plain(hits.slot_recall(all_named, layers, phase)),
        "exact_loaded": _plain(hits.exact_set(all_named, layers, phase)),
    }


def _plain(share: Interval | None) -> list[float | None] | None:
    """Value, low and high, to four digits."""
    if share is None:
        return None
    return [None if v is None else round(v, 4) for v in (share.value, share.low, share.high)]
