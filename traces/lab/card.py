"""What is known of a trained predictor: kept beside its weights as ``predictor.json``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prefetch_sim.traces.errors import describe
from prefetch_sim.traces.files import replacing
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.trace import Array, PredictionInfo, Trace, TraceError

CARD = "predictor.json"
TRAIN, CALIBRATE = 0.7, 0.1  # of the documents; the rest is held out
LEAST_DOCUMENTS = 10


class Card(BaseModel):
    """``documents`` are those that training or calibration saw: it never speaks of their tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: str
    info: PredictionInfo
    model: ModelSpec
    weights: str | None = Field(description="digest of the model it was made for, if known")
    documents: tuple[int, ...]
    settings: dict[str, str | int | float]
    losses: tuple[float, ...] = ()
    # Of each layer: probability = sigmoid(slope * score + offset), fitted on the calibration split.
    # Slope 0: silent, as the layer hardly routed.
    slope: tuple[float, ...]
    offset: tuple[float, ...]
    # Of the experts that it would name, on the held-out documents.
    calibration_error: float | None = None
    # Share of the routed experts among the first k that it names, on held-out documents, layer 0
    # apart; None of a predictor that was trained before this was measured.
    slot_recall: float | None = None

    @model_validator(mode="after")
    def _whole(self) -> Card:
        layers = self.model.moe_layers
        if not len(self.slope) == len(self.offset) in (layers, layers - self.info.distance):
            raise ValueError(f"{len(self.slope)} slopes and {len(self.offset)} offsets")
        return self

    def check_trace(self, trace: Trace) -> None:
        """Raises TraceError for a trace of another model."""
        self.check_model(trace.model, weights_digest(trace), "this trace is of")

    def check_model(
        self, spec: ModelSpec, digest: str | None, this: str = "the model here is"
    ) -> None:
        """Raises TraceError for another model; ``digest``: of its weights, if known."""
        if (self.model.topology, self.model.hidden) != (spec.topology, spec.hidden):
            raise TraceError(
                f"predictor {self.name}: trained on {self.model.name}, "
                f"{_shape(self.model)}, not on {spec.name}, {_shape(spec)}"
            )
        if None not in (self.weights, digest) and self.weights != digest:
            raise TraceError(
                f"predictor {self.name}: trained on {self.model.name} (weights {self.weights}), "
                f"{this} {spec.name} (weights {digest}): train one on a capture of it"
            )

    def seen(self, trace: Trace) -> Array:
        """Rows of documents it was trained on: bool [T]."""
        return np.isin(document_numbers(trace), self.documents)


Split = Literal["train", "calibrate", "held-out"]


def split_rows(trace: Trace) -> dict[Split, Array]:
    """Rows of each split, bool [T]: documents, in the order of their numbers, go 70 / 10 / 20.

    Raises TraceError where there are too few.
    """
    numbers = document_numbers(trace)
    known = np.unique(numbers)
    if len(known) < LEAST_DOCUMENTS:
        raise TraceError(
            f"{trace.path}: {len(known)} documents, of which some are to train on, some to "
            f"calibrate and some to hold out: at least {LEAST_DOCUMENTS}"
        )
    place = (np.searchsorted(known, numbers) + 0.5) / len(known)
    train = place < TRAIN
    held_out = place >= TRAIN + CALIBRATE
    return {"train": train, "calibrate": ~train & ~held_out, "held-out": held_out}


def training_rows(trace: Trace, share: float) -> Array:
    """The rows of ``share`` of the training documents: bool [T]."""
    numbers, train = document_numbers(trace), split_rows(trace)["train"]
    known = np.unique(numbers[train])
    chosen: Array = train & np.isin(numbers, known[: max(1, round(share * len(known)))])
    return chosen


def learned(trace: Trace, share: float = 1.0) -> tuple[int, ...]:
    """The documents that training, on ``share`` of its own, and calibration see."""
    saw = training_rows(trace, share) | split_rows(trace)["calibrate"]
    return tuple(np.unique(document_numbers(trace)[saw]).tolist())


def data_digest(trace: Trace) -> str:
    """Of what there was to learn from."""
    whole = hashlib.blake2b(digest_size=8)
    for column in (trace.request_id, trace.token_id, trace.experts):
        if column is not None:
            whole.update(np.ascontiguousarray(column).tobytes())
    return whole.hexdigest()


def document_numbers(trace: Trace) -> Array:
    """A number for each row's document, the same in every trace that has it: int64 [T].

    Where documents were not recorded a request is one, and its number is that of its routing.
    """
    if trace.document is not None:
        return trace.document
    numbers = np.empty(trace.tokens, np.int64)
    for _, start, end in trace.requests:
        digest = hashlib.blake2b(trace.experts[start:end].tobytes(), digest_size=8).digest()
        numbers[start:end] = int.from_bytes(digest) >> 1
    return numbers


def weights_digest(trace: Trace) -> str | None:
    """Of the weights of the model that a capture ran, where the trace says it."""
    said = trace.meta.recorded.get("weights", "").split()
    return said[0] if said else None


def read_card(folder: Path) -> Card:
    path = folder / CARD
    if not path.is_file():
        raise TraceError(f"{folder}: no {CARD} in it: not a trained predictor")
    try:
        return Card.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise TraceError(f"{path}: {describe(error, Card)}") from None


def write_card(folder: Path, card: Card) -> None:
    """Last of a predictor's files: where it is, the predictor is whole."""
    with replacing(folder / CARD) as temporary:
        temporary.write_text(json.dumps(card.model_dump(mode="json"), indent=1) + "\n")


def _shape(spec: ModelSpec) -> str:
    layers, experts, top_k = spec.topology
    return f"{layers} layers x {experts} experts, top-{top_k}, hidden {spec.hidden}"
