"""The answers' tables and sentences in Markdown, from the CSV files alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from prefetch_sim.experiments import studies
from prefetch_sim.experiments.conclusions.turns import turning
from prefetch_sim.experiments.documents import table
from prefetch_sim.experiments.text import percent

FOLDER = Path(__file__).parent
SWEEPS = {
    name: FOLDER / f"{name}.yaml" for name in ("hit_rate", "cache_size", "placement", "recall")
}
RESULTS = studies.RESULTS / "questions"

Results = Mapping[str, pd.DataFrame]
LINK = "hardware.host_link.gb_s"
PINNED = "LRU, most used pinned in 3/4"
PLACED = {
    "layers=last fill": "whole layers, rest on the CPU",
    "uniform=fill": "most used of each layer, rest on the CPU",
    "popular=fill": "most used of all, rest on the CPU",
    "none": "an LRU cache that copies (imp)",
}


def read(folder: Path) -> Results:
    return {name: studies.read(folder, name) for name in SWEEPS}


def tables(results: Results) -> dict[str, str]:
    return {
        "hit_rate": _hit_rate(results["hit_rate"]),
        "fault": _fault(results["hit_rate"]),
        "cache_size": _cache_size(results["cache_size"]),
        "placement": _placement(results["placement"]),
        "recall": _recall(results["recall"]),
        "worth": _worth(results["recall"]),
    }


def _hits(frame: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Decode hit rate by (policy, size of the cache)."""
    pinned = frame["cache.static"] != "none"
    policy = frame["cache.eviction"].where(~pinned, PINNED)
    return dict(zip(zip(policy, frame["cache.capacity"]), frame["hit_rate"]))


def _hit_rate(frame: pd.DataFrame) -> str:
    hits = _hits(frame)
    sizes = list(dict.fromkeys(frame["cache.capacity"]))
    policies = list(dict.fromkeys(policy for policy, _ in hits))
    rows = [[policy, *(percent(hits[policy, size]) for size in sizes)] for policy in policies]
    return table(["decode hit rate", *(f"{size} cached" for size in sizes)], rows)


def _fault(frame: pd.DataFrame) -> str:
    hits = _hits(frame)
    lines = []
    for size in dict.fromkeys(frame["cache.capacity"]):
        lru, belady = hits["lru", size], hits["belady", size]
        known = {policy: rate for (policy, at), rate in hits.items() if at == size}
        for foreseeing in ("belady", PINNED):  # whose counts are of the same requests
            del known[foreseeing]
        best = max(known, key=lambda policy: known[policy])
        lines.append(
            f"- **{size} cached**: LRU {percent(lru)}. Knowing the future gives "
            f"{percent(belady)}; the best that does not is {best}, {percent(known[best])}."
        )
    return "\n".join(lines)


def _cache_size(frame: pd.DataFrame) -> str:
    """Each size, and what each percent more of the experts brings over the size before."""
    rows, before = [], None
    for size, ms, hits in zip(frame["cache.capacity"], frame["ms"], frame["hit_rate"]):
        share, speed = float(size.removesuffix("%")), 1000 / ms
        gain = "–" if before is None else f"{(speed - before[1]) / (share - before[0]):+.2f}"
        rows.append([size, percent(hits), f"{speed:.1f}", gain])
        before = share, speed
    return table(["experts cached", "decode hit rate", "tokens/s", "tokens/s a point more"], rows)


def _placement(frame: pd.DataFrame) -> str:
    nothing = (frame["cache.static"] == "none") & (frame["misses"] != "load")
    alone = 1000 / frame["ms"][nothing].iloc[0]
    sizes = list(dict.fromkeys(frame["cache.capacity"]))
    rows = []
    for static, name in PLACED.items():
        at = frame[~nothing & (frame["cache.static"] == static)].set_index("cache.capacity")
        cells = [
            f"{1000 / at['ms'][size]:.1f} ({percent(at['hit_rate'][size])} hits)" for size in sizes
        ]
        rows.append([name, *cells])
    rows.append(["all on the CPU, no memory taken", *(f"{alone:.1f}" for _ in sizes)])
    return table(["tokens/s", *(f"{size} of the experts" for size in sizes)], rows)


def places(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """((cache, link), its points) of the sweep over recall."""
    for (cache, link), part in frame.groupby(["cache.capacity", LINK], sort=False):
        yield (str(cache), str(link)), part


def turns(frame: pd.DataFrame) -> dict[tuple[str, str], float | None]:
    """The recall from which on prediction pays, by (cache, link).

    0 where the least that was swept pays, None where even the most does not.
    """
    found: dict[tuple[str, str], float | None] = {}
    for (cache, link), part in places(frame):
        none = float(part["ms"][part["predictor"] == "none"].iloc[0])
        recalls, gains = recall_curve(part, none)
        turn, pays = turning(recalls.tolist(), (-gains).tolist())
        found[cache, link] = 0.0 if turn is None and pays else turn
    return found


def recall_curve(part: pd.DataFrame, none: float) -> tuple[np.ndarray, np.ndarray]:
    """(recalls, share by which the time a token falls) of one cache and link, by recall."""
    oracles = part[part["predictor"] != "none"]
    recalls = oracles["predictor"].str.extract(r"recall=([\d.]+)")[0].astype(float).fillna(1.0)
    order = np.argsort(recalls.to_numpy())
    return recalls.to_numpy()[order], (1 - oracles["ms"].to_numpy() / none)[order]


def _recall(frame: pd.DataFrame) -> str:
    rows = []
    recalls: np.ndarray = np.array([])
    for (cache, link), part in places(frame):
        none = float(part["ms"][part["predictor"] == "none"].iloc[0])
        recalls, gains = recall_curve(part, none)
        cells = [f"{1000 / none * (1 / (1 - gain)):.1f}" for gain in gains]
        rows.append([cache, f"{link} GB/s", f"{1000 / none:.1f}", *cells])
    head = ["experts cached", "host link", "no prediction"]
    return table([*head, *(f"recall {recall:.0%}" for recall in recalls)], rows)


def _worth(frame: pd.DataFrame) -> str:
    lines = []
    for (cache, link), recall in turns(frame).items():
        said = (
            "never pays, not even when it is always right"
            if recall is None
            else "pays at every recall swept"
            if recall == 0
            else f"pays from a recall of {recall:.0%} on"
        )
        lines.append(f"- {cache} cached, {link} GB/s: {said}.")
    return "\n".join(lines)
