"""What a trace is in memory: one row a token, the experts each MoE layer sent it to.

Shapes: ``T`` tokens, ``L = model.moe_layers``, ``k = model.top_k``, ``m`` experts a predictor
named. An expert is written as ``e`` in ``0..E-1`` of its own MoE layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from prefetch_sim.traces.errors import describe, first_line
from prefetch_sim.traces.models.keys import ModelConfigError
from prefetch_sim.traces.models.named import named_model
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.sets import check_scores, check_sets

SCHEMA_VERSION = 1
PREFILL, DECODE = 0, 1
PHASES = ("prefill", "decode")
MOST_ROUTED = 1_000_000  # experts of all layers: far above any model's
MEANT = ("none", "oracle", "recorded")  # predictors that no recording stands for

Array = npt.NDArray[Any]


class TraceError(ValueError):
    """A trace cannot be read, written or made. One line: file, row, layer, and what is wrong."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PredictionInfo(_Frozen):
    """What a recorded predictor saw, how far ahead it looked and what it costs."""

    # layer_start: it reads the output of the layer's input norm; gate_input: what the gate reads.
    trigger: Literal["layer_start", "gate_input"]
    distance: int = Field(ge=0, description="target MoE layer - firing MoE layer")
    flops: float = Field(ge=0, le=1e18, description="floating-point operations a token and layer")
    bytes: int = Field(ge=0, le=10**15, description="weights read at each firing, once a batch")
    time_us: float | None = Field(
        default=None, ge=0, description="a token and layer, measured where it was trained"
    )
    description: str = Field(description="how it was trained and on what split")


class TraceMeta(_Frozen):
    """The file's metadata: the model's shape, how it was recorded, the recorded predictors."""

    model: ModelSpec
    recorded: dict[str, str] = {}
    predictions: dict[str, PredictionInfo] = {}

    @field_validator("model")
    @classmethod
    def _size(cls, value: ModelSpec) -> ModelSpec:
        if value.moe_layers * value.experts > MOST_ROUTED:
            raise ValueError(
                f"{value.moe_layers:,} MoE layers x {value.experts:,} experts are more than "
                f"{MOST_ROUTED:,}"
            )
        return value

    @field_validator("predictions")
    @classmethod
    def _names(cls, value: dict[str, PredictionInfo]) -> dict[str, PredictionInfo]:
        for name in value:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"predictor name {name!r}: use letters, digits, '-' and '_'")
        return value


@dataclass(frozen=True)
class Prediction:
    """One predictor's recorded output, under the layer it speaks of, not the one it fired in."""

    info: PredictionInfo
    experts: Array  # int16 [T, L, m], best first; -1 in every slot of a layer it was silent on
    scores: Array  # float16 or float32 [T, L, m], not increasing; 0 where silent


# What a predictor said, as arrays: experts and scores, both [T, L, m], trigger and distance.
Said = tuple[npt.ArrayLike, npt.ArrayLike, str, int]


@dataclass(repr=False)
class Trace:
    """Rows of a request are contiguous, its positions count up by one, prefill before decode."""

    path: Path | None
    meta: TraceMeta
    request_id: Array  # int32 [T]
    position: Array  # int32 [T]
    phase: Array  # int8 [T]: 0 prefill, 1 decode
    token_id: Array | None  # int32 [T]
    experts: Array  # int16 [T, L, k], best first; -1 in every slot of a layer that did not route
    weights: Array | None  # float16 [T, L, k]; 0 where the layer did not route
    predictions: dict[str, Prediction] = field(default_factory=dict)
    document: Array | None = None  # int64 [T]: whose text the request began with, one number each

    @classmethod
    def from_arrays(
        cls,
        model: str | Path | ModelSpec,
        experts: npt.ArrayLike,
        *,
        requests: Sequence[int | str] | Array | None = None,
        prompt: int | Sequence[int] | Array = 0,
        weights: npt.ArrayLike | None = None,
        token_id: npt.ArrayLike | None = None,
        recorded: dict[str, str] | None = None,
        predictions: Mapping[str, Prediction | Said] | None = None,
    ) -> Trace:
        """A trace of routing that is in memory; ``write_trace`` makes a file of it.

        ``model``: a spec, or what ``named_model`` takes: a name, a model's folder, a GGUF file.
        ``experts`` [T, L, k], best first, all -1 where a layer did not route. ``requests`` [T]
        names the request of each row, whose rows must be together (default: one request);
        ``prompt`` is how many first rows of each request are its prompt, one number for all or one
        each, at most the rows that there are. ``weights`` [T, L, k], ``token_id`` [T];
        ``recorded`` says where it comes from. ``predictions``: what predictors said, by name, each
        a ``Prediction`` or ``(experts [T, L, m], scores [T, L, m], trigger, distance)``, which
        costs nothing in a run. Raises TraceError for a model that is not known, a shape that is not
        the model's, lists that differ in length, what is no whole number, experts that are twice
        in a set or not of the model, and scores that rise or are not from 0 to 1.
        """
        if isinstance(model, str | Path):
            try:
                model = named_model(model)
            except ModelConfigError as error:
                raise TraceError(f"trace: {error}") from None
        if not isinstance(model, ModelSpec):
            raise TraceError(f"trace: model is a {type(model).__name__}, expected a name or a spec")
        chosen = _integers("experts", experts, np.int16)
        layers, _, k = model.topology
        tokens = len(chosen) if chosen.ndim else 0
        if chosen.shape != (tokens, layers, k):
            raise TraceError(
                f"trace: experts has shape {chosen.shape}, expected tokens x {layers} x {k}"
            )
        names = _array("requests", np.zeros(tokens, np.int32) if requests is None else requests)
        if names.shape != (tokens,):
            raise TraceError(f"trace: requests has shape {names.shape}, expected {(tokens,)}")
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]) if tokens else names
        lengths = np.diff(np.append(starts, tokens))
        again = [name for name, n in Counter(names[starts].tolist()).items() if n > 1]
        if again:
            raise TraceError(f"trace: request {again[0]!r} again: its rows must be contiguous")
        position = np.arange(tokens) - np.repeat(starts, lengths)
        prompts = _integers("prompt", prompt, np.int32)
        if prompts.ndim and prompts.shape != lengths.shape:
            raise TraceError(f"trace: {prompts.size} prompts for {len(lengths)} requests")
        prompts = np.broadcast_to(prompts, lengths.shape)
        for name, rows, wanted in zip(names[starts].tolist(), lengths.tolist(), prompts.tolist()):
            if not 0 <= wanted <= rows:
                raise TraceError(f"trace: request {name!r} has {rows} rows, its prompt {wanted}")
        in_prompt = position < np.repeat(prompts, lengths)
        said = _predictions({} if predictions is None else predictions)
        info = {name: prediction.info for name, prediction in said.items()}
        try:
            meta = TraceMeta(model=model, recorded=recorded or {}, predictions=info)
        except ValidationError as error:
            raise TraceError(f"trace: {describe(error, TraceMeta)}") from None
        trace = cls(
            path=None,
            meta=meta,
            request_id=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
            position=position.astype(np.int32),
            phase=np.where(in_prompt, PREFILL, DECODE).astype(np.int8),
            token_id=None if token_id is None else _integers("token_id", token_id, np.int32),
            experts=chosen,
            weights=None if weights is None else _numbers("weights", weights, np.float16),
            predictions=said,
        )

        def fail(row: int, message: str, layer: int) -> TraceError:
            return TraceError(f"trace: row {row}, layer {layer}: {message}")

        check_sets("", chosen, model.experts, fail)
        for name, prediction in said.items():
            shape = prediction.experts.shape
            if shape[:-1] != (tokens, layers) or prediction.scores.shape != shape:
                raise TraceError(
                    f"trace: prediction {name!r} has experts {shape} and scores "
                    f"{prediction.scores.shape}, expected both {tokens} x {layers} x as many as "
                    "it names"
                )
            check_sets(f"prediction {name!r}: ", prediction.experts, model.experts, fail)
            check_scores(f"prediction {name!r}: ", prediction.scores, fail)
        return trace

    def __repr__(self) -> str:
        """What it is of, without its arrays."""
        layers, experts, k = self.model.topology
        of = f"{self.model.name}, {layers} MoE layers x {experts} experts, top-{k}"
        said = f", predictions: {', '.join(self.predictions)}" if self.predictions else ""
        return f"Trace({of}; {len(self.requests)} requests, {self.tokens} tokens{said})"

    @property
    def model(self) -> ModelSpec:
        return self.meta.model

    @property
    def tokens(self) -> int:
        return len(self.request_id)

    @property
    def documents(self) -> Array:
        """The document of each row, int64 [T]; each request is its own where none is recorded."""
        return self.request_id.astype(np.int64) if self.document is None else self.document

    @property
    def requests(self) -> list[tuple[int, int, int]]:
        """``(request_id, first row, row after the last)`` of each request, in file order."""
        bounds = request_bounds(self.request_id).tolist()
        return [(int(self.request_id[a]), a, b) for a, b in pairwise(bounds)]

    @property
    def missing(self) -> int:
        """How many requests its capture has yet to record; 0 where it does not say."""
        said = self.meta.recorded.get("requests", "")
        counted = said.isdecimal() and len(said) < 19
        return max(0, int(said) - len(self.requests)) if counted else 0


def _array(name: str, values: Any) -> Array:
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        ragged = "inhomogeneous" in str(error)
        why = "lists in it differ in length" if ragged else first_line(error)
        raise TraceError(f"trace: {name} is no array: {why}") from None


def _predictions(given: Any) -> dict[str, Prediction]:
    if not isinstance(given, Mapping):
        what = "expected a mapping of names to (experts, scores, trigger, distance)"
        raise TraceError(f"trace: predictions is a {type(given).__name__}, {what}")
    for name in given:
        if name in MEANT:
            raise TraceError(f"trace: prediction {name!r}: configs mean another by that; rename it")
    return {name: _prediction(name, said) for name, said in given.items()}


def _prediction(name: str, given: Prediction | Said) -> Prediction:
    if isinstance(given, Prediction):
        return given
    try:
        experts, scores, trigger, distance = given
    except (TypeError, ValueError):
        raise TraceError(
            f"trace: prediction {name!r}: expected (experts, scores, trigger, distance)"
        ) from None
    about = {"flops": 0, "bytes": 0, "description": "given as arrays"}
    try:
        info = PredictionInfo.model_validate({"trigger": trigger, "distance": distance, **about})
    except ValidationError as error:
        raise TraceError(f"trace: prediction {name!r}: {describe(error, PredictionInfo)}") from None
    likely = _numbers(f"scores of prediction {name!r}", scores)
    kind = likely.dtype if likely.dtype in (np.float16, np.float32) else np.float32
    ids = _integers(f"experts of prediction {name!r}", experts, np.int16)
    return Prediction(info, ids, likely.astype(kind))


def _numbers(name: str, values: Any, kind: Any = None) -> Array:
    array = _array(name, values)
    if array.dtype.kind not in "iuf":
        raise TraceError(f"trace: {name} is {array.dtype}, expected numbers")
    with np.errstate(over="ignore"):  # infinite ones are refused with their row
        return array if kind is None else array.astype(kind)


def _integers(name: str, values: Any, kind: Any) -> Array:
    """Whole numbers as ``kind``; those that it does not hold are none."""
    array = _array(name, values)
    limits = np.iinfo(kind)
    if array.dtype.kind not in "iu":
        raise TraceError(f"trace: {name} is {array.dtype}, expected whole numbers")
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise TraceError(f"trace: {name} holds numbers beyond {limits.min}..{limits.max}")
    return array.astype(kind)


def request_bounds(request_id: Array) -> Array:
    """First row of each run of equal ids, then the number of rows: int64 [requests + 1]."""
    if not len(request_id):
        return np.zeros(1, np.int64)
    changes = np.flatnonzero(np.diff(request_id)) + 1
    return np.concatenate(([0], changes, [len(request_id)]))
