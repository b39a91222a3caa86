"""Honest scores of recorded predictors: by layer group and phase, with intervals over documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import bootstrap

from prefetch_sim.traces.errors import did_you_mean
from prefetch_sim.traces.lab.calibration import calibration_error
from prefetch_sim.traces.lab.card import document_numbers
from prefetch_sim.traces.trace import DECODE, PREFILL, Array, Trace, TraceError

RESAMPLES = 1000
CONFIDENCE = 0.95
Metric = Literal["slots", "exact"]  # slot recall, exact set
PHASES = {"prefill": (PREFILL,), "decode": (DECODE,), "all": (PREFILL, DECODE)}


@dataclass(frozen=True)
class Interval:
    """A share and its bootstrap interval; ``low`` and ``high`` are None for a single document."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Hits:
    """Of one predictor. ``D`` documents, ``L`` layers, 2 phases, ``m`` experts named.

    int64 arrays: ``sets`` [D, L, 2] that were routed and spoken of; ``named`` [D, L, 2, m], routed
    experts among the first 1..m named; ``exact`` [D, L, 2, m], sets that those cover; ``first``
    [D, L, 2], sets that hold the first named.
    """

    top_k: int
    sets: Array
    named: Array
    exact: Array
    first: Array
    # Error of the named experts' scores by phase; None: they are no probabilities.
    calibration: dict[str, float | None]

    @property
    def width(self) -> int:
        return int(self.named.shape[3])

    @property
    def documents(self) -> int:
        """How many it speaks of: what the intervals rest on."""
        return int((self.sets.sum(axis=(1, 2)) > 0).sum())

    @property
    def layers(self) -> list[int]:
        """Those it speaks of."""
        return [int(layer) for layer in np.flatnonzero(self.sets.sum(axis=(0, 2)))]

    @property
    def later(self) -> list[int]:
        """Those it speaks of but MoE layer 0, mostly a table of tokens: often nothing but the
        embedding, or a dense layer or two, comes before it."""
        return [layer for layer in self.layers if layer > 0]

    @property
    def first_layer(self) -> list[int]:
        return [layer for layer in self.layers if layer == 0]

    def by_layer(self, metric: Metric, loaded: int, phase: str = "all") -> Array:
        """The share of each layer among the first ``loaded`` named: [L], NaN where silent."""
        part, whole = (
            counts[:, :, list(PHASES[phase])].sum(axis=(0, 2))
            for counts in self._counts(metric, loaded)
        )
        shares: Array = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
        return shares

    def pooled(self, metric: Metric, loaded: int, layers: list[int], phase: str = "all") -> float:
        """The share over several layers, NaN where it is silent on all of them."""
        part, whole = (
            int(counts[:, layers][:, :, list(PHASES[phase])].sum())
            for counts in self._counts(metric, loaded)
        )
        return part / whole if whole else float("nan")

    def slot_recall(self, loaded: int, layers: list[int], phase: str = "all") -> Interval | None:
        """Share of the routed experts among the first ``loaded``; None where it said nothing."""
        return self._share(*self._counts("slots", loaded), layers, phase)

    def exact_set(self, loaded: int, layers: list[int], phase: str = "all") -> Interval | None:
        """Share of the routed sets that the first ``loaded`` cover."""
        return self._share(*self._counts("exact", loaded), layers, phase)

    def top_1(self, layers: list[int], phase: str = "all") -> Interval | None:
        """Share of the sets that hold the expert named first."""
        return self._share(self.first, self.sets, layers, phase)

    def _counts(self, metric: Metric, loaded: int) -> tuple[Array, Array]:
        loaded = min(loaded, self.width)  # some name fewer than k
        if metric == "slots":
            return self.named[..., loaded - 1], self.sets * self.top_k
        return self.exact[..., loaded - 1], self.sets

    def _share(self, part: Array, whole: Array, layers: list[int], phase: str) -> Interval | None:
        def by_document(counts: Array) -> Array:
            chosen: Array = counts[:, layers][:, :, list(PHASES[phase])].sum(axis=(1, 2))
            return chosen

        top, bottom = by_document(part), by_document(whole)
        spoken = bottom > 0
        top, bottom = top[spoken], bottom[spoken]
        if not len(bottom):
            return None
        value = float(top.sum() / bottom.sum())
        if len(bottom) < 2:
            return Interval(value, None, None)
        if (top * bottom[0] == bottom * top[0]).all():  # no spread, which scipy calls degenerate
            return Interval(value, value, value)
        found = bootstrap(
            (top, bottom),
            lambda t, b, axis: t.sum(axis=axis) / b.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        return Interval(value, float(found.low), float(found.high))


def summary(hits: Hits) -> dict[str, Any]:
    """Everything that can be read off, ready for JSON."""
    groups: dict[str, list[int]] = {
        "all": hits.layers,
        "layer_0": hits.first_layer,
        "later": hits.later,
    }
    groups |= {f"layer_{layer}": [layer] for layer in hits.layers if layer}

    def plain(share: Interval | None) -> Any:
        return None if share is None else [share.value, share.low, share.high]

    found: dict[str, Any] = {"calibration_error": hits.calibration["all"]}
    for phase in PHASES:
        found[phase] = {"calibration_error": hits.calibration[phase]}
        found[phase] |= {
            name: {
                "slot_recall": [
                    plain(hits.slot_recall(n, layers, phase)) for n in range(1, hits.width + 1)
                ],
                "exact_set": [
                    plain(hits.exact_set(n, layers, phase))
                    for n in range(hits.top_k, hits.width + 1)
                ],
                "top_1": plain(hits.top_1(layers, phase)),
            }
            for name, layers in groups.items()
            if layers
        }
    return found


def count_hits(trace: Trace, name: str) -> Hits:
    """Compare what predictor ``name`` said with what was routed.

    What it said of the first ``distance`` layers does not count: it speaks at an earlier layer, and
    there is none. Raises TraceError for one that was not recorded.
    """
    if name not in trace.predictions:
        near = did_you_mean(name, trace.predictions)
        raise TraceError(f"{trace.path or 'trace'}: no recorded prediction {name!r}{near}")
    prediction = trace.predictions[name]
    layers, _, top_k = trace.model.topology
    named = prediction.experts.shape[2]
    known, document = np.unique(document_numbers(trace), return_inverse=True)
    cells = 2 * len(known)
    group = document * 2 + trace.phase
    sets, first = np.zeros((layers, cells), np.int64), np.zeros((layers, cells), np.int64)
    hits, exact = (np.zeros((layers, named, cells), np.int64) for _ in range(2))
    scored: list[Array] = []
    right: list[Array] = []
    when: list[Array] = []
    for layer in range(layers):
        routed, guess = trace.experts[:, layer], prediction.experts[:, layer]
        spoken = (routed[:, 0] >= 0) & (guess[:, 0] >= 0) & (layer >= prediction.info.distance)
        where = group[spoken]
        match = (guess[spoken][:, :, None] == routed[spoken][:, None, :]).any(axis=2)
        found = match.cumsum(axis=1)
        sets[layer] = np.bincount(where, minlength=cells)
        first[layer] = np.bincount(where, match[:, 0], minlength=cells)
        for slot in range(named):
            hits[layer, slot] = np.bincount(where, found[:, slot], minlength=cells)
            exact[layer, slot] = np.bincount(where, found[:, slot] == top_k, minlength=cells)
        scored.append(prediction.scores[spoken, layer].astype(np.float32).ravel())
        right.append(match.ravel())
        when.append(trace.phase[spoken].repeat(named))

    def shaped(counts: Array) -> Array:
        """[layers, ..., documents × phases] to [documents, layers, phases, ...]."""
        split = counts.reshape(*counts.shape[:-1], len(known), 2)
        return (
            np.moveaxis(split, (-2, -1), (0, 2))
            if counts.ndim == 2
            else np.moveaxis(split, (2, 0, 3, 1), (0, 1, 2, 3))
        )

    def calibration(phases: tuple[int, ...]) -> float | None:
        chosen = np.isin(phase, phases)
        if not (are_chances and chosen.any()):
            return None
        return calibration_error(probability[chosen], truth[chosen])

    probability, truth, phase = map(np.concatenate, (scored, right, when))
    are_chances = bool(((probability >= 0) & (probability <= 1)).all())
    return Hits(
        top_k,
        shaped(sets),
        shaped(hits),
        shaped(exact),
        shaped(first),
        {name: calibration(phases) for name, phases in PHASES.items()},
    )
