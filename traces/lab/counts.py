"""Predictors that count: what was routed before, under which token, after which experts.

Each gives a score of every expert of a layer, float32 [N, E], monotone in how likely it is; they
need no states and no gradient. ``fit`` learns from some rows of a trace, ``scores`` speaks of
others, reading of them only what is known when the layer starts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from prefetch_sim.traces.trace import PREFILL, Array, Trace, TraceError

SMOOTHING = 1.0  # a count of this size that follows the layer's own frequencies
STORED = 128  # activation matrices kept, spread over the training requests
TINY = 1e-6


class Counting(ABC):
    """``tables`` are the arrays that are kept on disk."""

    kind: ClassVar[str]
    summary: ClassVar[str]
    # Whether it may speak layers ahead: not where it reads what the layer before was routed to.
    any_distance: ClassVar[bool] = True

    def __init__(self, tables: dict[str, Array]) -> None:
        self.tables = tables

    @classmethod
    @abstractmethod
    def fit(cls, trace: Trace, rows: Array) -> dict[str, Array]:
        """Count over ``rows`` (bool [T])."""

    @abstractmethod
    def scores(self, trace: Trace, rows: Array, layer: int) -> Array:
        """Of the rows at the indices ``rows``."""

    @abstractmethod
    def reads(self, experts: int, top_k: int) -> int:
        """Numbers of its tables that it looks at, and adds or multiplies, for a token and layer."""


class LayerFrequency(Counting):
    kind = "layer-frequency"
    summary = "How often each expert of the layer was used in training"

    @classmethod
    def fit(cls, trace: Trace, rows: Array) -> dict[str, Array]:
        return {"frequency": frequency(trace, rows)}

    def scores(self, trace: Trace, rows: Array, layer: int) -> Array:
        return np.broadcast_to(self.tables["frequency"][layer], (len(rows), trace.model.experts))

    def reads(self, experts: int, top_k: int) -> int:
        return experts


class PreviousToken(LayerFrequency):
    kind = "previous-token"
    summary = "The experts of the request's previous token in the same layer, then the frequent"

    def scores(self, trace: Trace, rows: Array, layer: int) -> Array:
        before = known_before(trace, one_hot(trace, layer))[rows]
        said: Array = before + self.tables["frequency"][layer] / 2
        return said

    def reads(self, experts: int, top_k: int) -> int:
        return experts + top_k


class TokenTable(Counting):
    kind = "token-table"
    summary = "How often each expert was used under the same token id"

    @classmethod
    def fit(cls, trace: Trace, rows: Array) -> dict[str, Array]:
        if trace.token_id is None:
            raise TraceError(f"{trace.path}: a token table needs token ids, which it lacks")
        known = np.unique(trace.token_id[rows])
        at = np.searchsorted(known, trace.token_id[rows])
        layers, experts, _ = trace.model.topology
        counts = np.zeros((layers, len(known), experts), np.float32)
        seen = np.zeros((layers, len(known)), np.float32)
        for layer in range(layers):
            np.add.at(counts[layer], at, one_hot(trace, layer)[rows])
            routed = trace.experts[rows, layer, 0] >= 0
            seen[layer] = np.bincount(at[routed], minlength=len(known))
        return {
            "frequency": frequency(trace, rows),
            "token": known,
            "count": counts,
            "seen": seen,
        }

    def scores(self, trace: Trace, rows: Array, layer: int) -> Array:
        return log_odds(self._chance(trace, rows, layer))

    def reads(self, experts: int, top_k: int) -> int:
        return 2 * experts

    def _chance(self, trace: Trace, rows: Array, layer: int) -> Array:
        if trace.token_id is None:
            raise TraceError(f"{trace.path}: a token table needs token ids, which it lacks")
        known, usual = self.tables["token"], self.tables["frequency"][layer]
        at = np.searchsorted(known, trace.token_id[rows]).clip(max=len(known) - 1)
        found = known[at] == trace.token_id[rows]
        count = self.tables["count"][layer][at].astype(np.float32) * found[:, None]
        seen = self.tables["seen"][layer][at] * found
        chance: Array = (count + SMOOTHING * usual) / (seen + SMOOTHING)[:, None]
        return chance


class Transition(Counting):
    kind = "transition"
    any_distance = False
    summary = "Naive Bayes on the experts that the same token used in the layer before"

    @classmethod
    def fit(cls, trace: Trace, rows: Array) -> dict[str, Array]:
        layers = trace.model.moe_layers
        evidence = np.zeros((layers, trace.model.experts, trace.model.experts), np.float32)
        before = one_hot(trace, 0)[rows]
        for layer in range(1, layers):
            after = one_hot(trace, layer)[rows]
            evidence[layer] = lift(before, after)
            before = after
        return {"frequency": frequency(trace, rows), "evidence": evidence}

    def scores(self, trace: Trace, rows: Array, layer: int) -> Array:
        usual = np.log(self.tables["frequency"][layer] + TINY)
        if not layer:
            return np.broadcast_to(usual, (len(rows), trace.model.experts))
        evidence = one_hot(trace, layer - 1)[rows] @ self.tables["evidence"][layer]
        said: Array = evidence + usual
        return said

    def reads(self, experts: int, top_k: int) -> int:
        return (1 + top_k) * experts


class Combined(Counting):
    """The weights were chosen on GPT-OSS-20B's routing: the two sources of evidence overlap."""

    kind = "combined"
    any_distance = False
    summary = "Token table, transition and previous token, their evidence weighted and added"
    TRANSITION, PREVIOUS = 0.5, 0.5

    @classmethod
    def fit(cls, trace: Trace, rows: Array) -> dict[str, Array]:
        tables = TokenTable.fit(trace, rows) | Transition.fit(trace, rows)
        again = np.zeros_like(tables["evidence"])
        for layer in range(trace.model.moe_layers):
            now = one_hot(trace, layer)
            again[layer] = lift(previous(trace, now)[rows], now[rows])
        return tables | {"again": again}

    def scores(self, trace: Trace, rows: Array, layer: int) -> Array:
        said = TokenTable(self.tables).scores(trace, rows, layer)
        before = known_before(trace, one_hot(trace, layer))[rows]
        said = said + self.PREVIOUS * (before @ self.tables["again"][layer])
        if layer:
            evidence = one_hot(trace, layer - 1)[rows] @ self.tables["evidence"][layer]
            said = said + self.TRANSITION * evidence
        return np.asarray(said)

    def reads(self, experts: int, top_k: int) -> int:
        return (2 + 2 * top_k) * experts


class ActivationMatrix(Counting):
    """MoE-Infinity (arXiv 2401.14361), its stored matrices spread evenly, not clustered."""

    kind = "activation-matrix"
    summary = "The stored request whose expert use so far is nearest (cosine) to this one's"

    @classmethod
    def fit(cls, trace: Trace, rows: Array) -> dict[str, Array]:
        requests = [(a, b) for _, a, b in trace.requests if rows[a]]
        step = max(1, len(requests) // STORED)
        stored = [use(trace, a, b) for a, b in requests[::step][:STORED]]
        return {"frequency": frequency(trace, rows), "stored": np.stack(stored, axis=1)}

    def __init__(self, tables: dict[str, Array]) -> None:
        super().__init__(tables)
        self._nearest: tuple[Trace, Array, Array] | None = None

    def scores(self, trace: Trace, rows: Array, layer: int) -> Array:
        if self._nearest is None or self._nearest[0] is not trace:
            self._nearest = (trace, *self._match(trace))
        _, nearest, started = self._nearest
        usual = self.tables["frequency"][layer]
        matched = self.tables["stored"][layer][nearest[rows]]
        said: Array = np.where(started[rows, None], matched, usual) + TINY * usual
        return said

    def reads(self, experts: int, top_k: int) -> int:
        """With every stored matrix's likeness kept up as experts are routed to."""
        stored = self.tables["stored"].shape[1]
        return int(stored * top_k + 2 * experts)

    def _match(self, trace: Trace) -> tuple[Array, Array]:
        """Stored matrix nearest to each row's request so far, and whether it has any past."""
        layers, experts, _ = trace.model.topology
        stored = self.tables["stored"].transpose(1, 0, 2).reshape(-1, layers * experts)
        stored = stored / np.linalg.norm(stored, axis=1, keepdims=True)
        nearest = np.zeros(trace.tokens, np.int64)
        started = np.ones(trace.tokens, bool)
        for _, start, end in trace.requests:
            likeness = np.zeros((end - start, len(stored)), np.float32)
            for layer in range(layers):
                ids = trace.experts[start:end, layer].astype(np.int64)
                columns = stored[:, layer * experts : (layer + 1) * experts]
                likeness += np.where(ids >= 0, columns[:, ids.clip(min=0)], 0).sum(axis=2).T
            past = np.cumsum(likeness, axis=0)
            # The norm of the request's own matrix is the same for every stored one.
            nearest[start + 1 : end] = past[:-1].argmax(axis=1)
            started[start] = False
        started &= trace.phase != PREFILL  # a prompt's tokens run at once
        return nearest, started


KINDS: dict[str, type[Counting]] = {
    made.kind: made
    for made in (
        LayerFrequency,
        PreviousToken,
        TokenTable,
        Transition,
        Combined,
        ActivationMatrix,
    )
}


def one_hot(trace: Trace, layer: int) -> Array:
    """Which experts of a layer each token was routed to: float32 [T, E]."""
    ids = trace.experts[:, layer].astype(np.int64)
    routed = ids[:, 0] >= 0
    out = np.zeros((trace.tokens, trace.model.experts), np.float32)
    out[np.flatnonzero(routed)[:, None], ids[routed]] = 1
    return out


def previous(trace: Trace, values: Array) -> Array:
    """``values`` [T, ...] of the token before, 0 for a request's first: what there is to learn."""
    before = np.zeros_like(values)
    before[1:] = values[:-1]
    before[[start for _, start, _ in trace.requests]] = 0
    return before


def known_before(trace: Trace, values: Array) -> Array:
    """The same as it is known when the token runs: a prompt's tokens run at once, so 0 there."""
    before = previous(trace, values)
    before[trace.phase == PREFILL] = 0
    return before


def frequency(trace: Trace, rows: Array) -> Array:
    """Share of the tokens in ``rows`` that each expert was used by: float32 [L, E]."""
    layers, experts, _ = trace.model.topology
    shares = np.zeros((layers, experts), np.float32)
    for layer in range(layers):
        ids = trace.experts[rows, layer]
        ids = ids[ids[:, 0] >= 0]
        shares[layer] = np.bincount(ids.ravel(), minlength=experts) / max(1, len(ids))
    return shares


def use(trace: Trace, start: int, end: int) -> Array:
    """How often each expert was used in rows ``start:end``: float32 [L, E]."""
    rows = np.zeros(trace.tokens, bool)
    rows[start:end] = True
    return frequency(trace, rows)


def lift(before: Array, after: Array) -> Array:
    """Evidence of i ``before`` for j ``after``, 0/1 [N, E]: log P(i | j) / P(i), [E, E]."""
    both = before.any(axis=1) & after.any(axis=1)
    before, after = before[both], after[both]
    given = (before.T @ after + 1) / (after.sum(axis=0) + 2)
    usual = (before.sum(axis=0) + 1) / (len(before) + 2)
    ratio: Array = np.log(given / usual[:, None]).astype(np.float32)
    return ratio


def log_odds(chance: Array) -> Array:
    bounded = np.clip(chance, 1e-3, 1 - 1e-3)
    odds: Array = np.log(bounded / (1 - bounded)).astype(np.float32)
    return odds
