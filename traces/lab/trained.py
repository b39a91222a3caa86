"""Trained predictors on disk: one folder each, a card and its numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from scipy.special import expit

from prefetch_sim.traces.arrays import read_npz
from prefetch_sim.traces.capture.recorder import Recording
from prefetch_sim.traces.errors import did_you_mean
from prefetch_sim.traces.files import replacing
from prefetch_sim.traces.lab.calibration import fit_platt, named_error, share, slot_hits, some
from prefetch_sim.traces.lab.card import (
    CARD,
    Card,
    data_digest,
    learned,
    read_card,
    split_rows,
    weights_digest,
    write_card,
)
from prefetch_sim.traces.lab.counts import KINDS, Counting, one_hot
from prefetch_sim.traces.lab.inference import READS, Network
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.states import no_states, open_states
from prefetch_sim.traces.timing import median_us
from prefetch_sim.traces.trace import DECODE, Array, Prediction, PredictionInfo, Trace, TraceError

TABLES = "tables.npz"
BLOCK = 2048  # rows spoken of at once
BYTES_PER_COUNT = 4


class Speaker(Protocol):
    """Says how likely each expert is: one predictor, or several together."""

    @property
    def name(self) -> str: ...

    @property
    def info(self) -> PredictionInfo: ...

    def blocks(self, trace: Trace) -> Iterator[tuple[slice, Array]]:
        """Runs of rows and their calibrated log odds, float32 [L, N, E]; NaN where silent."""


@dataclass
class Trained:
    """One predictor, read from its folder."""

    card: Card
    folder: Path

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def info(self) -> PredictionInfo:
        return self.card.info

    def check_model(self, spec: ModelSpec, digest: str | None) -> None:
        self.card.check_model(spec, digest)

    def live(self, device: torch.device, named: int) -> LiveNetwork:
        """The same while a model runs. Raises TraceError for one that counts."""
        if self.card.kind in KINDS:
            raise TraceError(
                f"predictor {self.name}: reads the trace, not the model: capture first, then "
                "'trace predict'"
            )
        return LiveNetwork(Network(self.card, self.folder, device), named)

    def blocks(self, trace: Trace) -> Iterator[tuple[slice, Array]]:
        self.card.check_trace(trace)
        seen = self.card.seen(trace)
        says = self._counting(trace) if self.card.kind in KINDS else self._network(trace)
        for rows, said in says:
            said[:, seen[rows]] = np.nan
            yield rows, said

    def _counting(self, trace: Trace) -> Iterator[tuple[slice, Array]]:
        model = self._load_tables()
        layers, experts, _ = trace.model.topology
        slope = np.array(self.card.slope)
        offset = np.array(self.card.offset)
        for rows in _whole_requests(trace):
            part = _rows_of(trace, rows)
            every = np.arange(part.tokens)
            out = np.full((layers, part.tokens, experts), np.nan, np.float32)
            for layer in range(self.info.distance, layers):
                if not slope[layer]:  # nothing was learned of it
                    continue
                out[layer] = slope[layer] * model.scores(part, every, layer) + offset[layer]
            yield rows, out

    def _network(self, trace: Trace) -> Iterator[tuple[slice, Array]]:
        if trace.path is None:
            raise TraceError(f"predictor {self.name}: reads states, which a file on disk has")
        states = open_states(trace.path)
        for kind in READS[self.card.kind]:
            if kind not in states:
                raise TraceError(
                    f"{trace.path}: predictor {self.name} reads {kind}, "
                    + no_states(trace, kind, "--states, or with --predictor to let it speak then")
                )
        network = Network(self.card, self.folder)
        for rows in _whole_requests(trace):
            chosen = np.zeros(trace.tokens, bool)
            chosen[rows] = True
            yield rows, _with_silent(network.of_states(states, chosen), self.info.distance)

    def _load_tables(self) -> Counting:
        path = self.folder / TABLES
        try:
            return KINDS[self.card.kind](read_npz(path))
        except (LookupError, ValueError, TypeError) as error:
            if isinstance(error, TraceError):
                raise
            raise TraceError(f"{path}: damaged: {error}") from None


@dataclass
class LiveNetwork:
    network: Network
    named: int

    @property
    def info(self) -> PredictionInfo:
        return self.network.info

    @property
    def seen(self) -> Collection[int]:
        return self.network.card.documents

    def predict(self, recording: Recording, tokens: torch.Tensor) -> tuple[Any, Any]:
        said = _with_silent(self.network.of_recording(recording), self.info.distance)
        experts, scores = best(said, self.named)
        return torch.from_numpy(experts), torch.from_numpy(scores)


def load_predictor(folder: str | Path) -> Trained:
    """Raises TraceError for a folder that holds none."""
    card = read_card(Path(folder))
    known = (*READS, *KINDS)
    if card.kind not in known:
        raise TraceError(f"{folder}: of kind {card.kind!r}{did_you_mean(card.kind, known)}")
    return Trained(card, Path(folder))


def train_counting(trace: Trace, folder: Path, kind: str, distance: int = 0) -> Card:
    """Count over the training split of ``trace`` and write the predictor into ``folder``."""
    rows = split_rows(trace)
    made = KINDS[kind]
    if distance >= trace.model.moe_layers:
        raise TraceError(
            f"{kind}-{distance}: the model has only {trace.model.moe_layers} MoE layers"
        )
    tables = made.fit(trace, rows["train"])
    model = made(tables)
    layers, experts, top_k = trace.model.topology
    scales, errors, hits = [], [], []
    # What a text teaches is the same where its tokens came one by one.
    decoded = replace(trace, phase=np.full_like(trace.phase, DECODE))
    for layer in range(layers):
        routed = trace.experts[:, layer, 0] >= 0
        held, apart = (some(rows[split] & routed) for split in ("calibrate", "held-out"))
        if not (held.any() and apart.any()):  # a layer that hardly routes
            scales.append((0.0, 0.0))
            continue
        truth = one_hot(trace, layer) > 0
        said = model.scores(decoded, np.flatnonzero(held), layer)
        slope, offset = fit_platt(said, truth[held])
        chance = expit(slope * model.scores(decoded, np.flatnonzero(apart), layer) + offset)
        errors.append(named_error(chance, truth[apart], trace.model.named()))
        if layer:
            hits.append(slot_hits(chance, truth[apart], top_k))
        scales.append((slope, offset))
    documents = learned(trace)
    name = kind if not distance else f"{kind}-{distance}"
    card = Card(
        name=name,
        kind=kind,
        info=PredictionInfo(
            trigger="layer_start",
            distance=distance,
            flops=model.reads(experts, top_k) + 2.0 * experts,  # the last: calibration
            bytes=BYTES_PER_COUNT * model.reads(experts, top_k),
            time_us=_time(made, tables, decoded),
            description=f"{made.summary}; counted over {int(rows['train'].sum()):,} tokens of "
            f"{len(documents)} documents, none of which it speaks of. Scores are probabilities, "
            "calibrated on documents apart.",
        ),
        model=trace.model,
        weights=weights_digest(trace),
        documents=documents,
        settings={"distance": distance, "data": data_digest(trace)},
        slope=tuple(s for s, _ in scales),
        offset=tuple(o for _, o in scales),
        calibration_error=round(float(np.mean(errors)), 6) if errors else None,
        slot_recall=share(hits),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)  # of tables that go now
    with replacing(folder / TABLES) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **tables)  # type: ignore[arg-type]
    write_card(folder, card)
    return card


def _time(made: type[Counting], tables: dict[str, Array], trace: Trace) -> float:
    """Microseconds for one token and layer, the whole model's at once, on this machine's CPU."""
    _, start, end = max(trace.requests, key=lambda request: request[2] - request[1])
    step = _rows_of(trace, slice(start, min(end, start + 2)))
    row = np.array([step.tokens - 1])

    def speak() -> None:
        model = made(tables)
        for layer in range(trace.model.moe_layers):
            model.scores(step, row, layer)

    return round(median_us(speak, 15) / trace.model.moe_layers, 2)


def predict(trace: Trace, speaker: Speaker, named: int) -> Prediction:
    """What ``speaker`` says of every token, the ``named`` likeliest experts of each layer."""
    layers = trace.model.moe_layers
    experts = np.full((trace.tokens, layers, named), -1, np.int16)
    scores = np.zeros((trace.tokens, layers, named), np.float16)
    for rows, said in speaker.blocks(trace):
        experts[rows], scores[rows] = best(said, named)
    return Prediction(speaker.info, experts, scores)


def best(said: Array, named: int) -> tuple[Array, Array]:
    """The likeliest of log odds [L, N, E]: experts int16 and probabilities float16, [N, L, m]."""
    values = torch.from_numpy(np.ascontiguousarray(said))
    top = values.nan_to_num(nan=-np.inf).topk(named, dim=-1)
    experts = top.indices.numpy().astype(np.int16)
    scores = torch.sigmoid(top.values).numpy()
    silent = np.isnan(said[:, :, 0])
    experts[silent], scores[silent] = -1, 0
    return experts.transpose(1, 0, 2), scores.astype(np.float16).transpose(1, 0, 2)


def _rows_of(trace: Trace, rows: slice) -> Trace:
    """What a predictor that counts reads of some rows."""
    return replace(
        trace,
        request_id=trace.request_id[rows],
        phase=trace.phase[rows],
        experts=trace.experts[rows],
        token_id=None if trace.token_id is None else trace.token_id[rows],
    )


def _with_silent(said: torch.Tensor, distance: int) -> Array:
    """Put layers in front of which nothing is said."""
    layers, rows, experts = said.shape
    out = np.full((distance + layers, rows, experts), np.nan, np.float32)
    out[distance:] = said.cpu().numpy()
    return out


def _whole_requests(trace: Trace) -> Iterator[slice]:
    """Runs of at least BLOCK rows, the same for all: what is counted depends on no other run."""
    start = 0
    for _, _, end in trace.requests:
        if end - start >= BLOCK or end == trace.tokens:
            yield slice(start, end)
            start = end
