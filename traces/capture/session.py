"""A capture from start to end: prompts in, a trace out, and on again after a crash."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import transformers

from traces.capture.generate import Decoder, Named, Rows, Sampling, evaluating, generate
from traces.capture.models import Loaded, encode
from traces.capture.prompts import read_prompts
from traces.capture.recorder import NoLogitsError, Recording, RoutingRecorder
from traces.capture.timing import TimingRecorder
from traces.format import read_trace, write_trace
from traces.states import KINDS, write_gates
from traces.trace import (
    DECODE,
    PREFILL,
    Array,
    Prediction,
    PredictionInfo,
    Trace,
    TraceError,
    TraceMeta,
)
from traces.writer import TraceWriter

PART_ROWS, PART_BYTES = 4096, 1 << 28
PROBE_STEPS, PROBE_SECONDS = 24, 10.0


class LivePredictor(Protocol):
    """A predictor that speaks while the model runs."""

    @property
    def info(self) -> PredictionInfo: ...

    @property
    def seen(self) -> Collection[int]:
        """Documents it was trained on, of which it does not speak."""

    def predict(self, recording: Recording, tokens: torch.Tensor) -> tuple[Any, Any]:
        """Experts int [N, L, m], best first (-1 where silent), and scores float [N, L, m]."""


@dataclass(frozen=True)
class Settings:
    max_new_tokens: int = 64
    batch_size: int = 8
    temperature: float = 0.0
    seed: int = 0
    states: bool = False
    logits: bool = False
    timing: bool = False


@dataclass(frozen=True)
class Overhead:
    """Decode steps a second with the hooks, and their share of those without, same batch."""

    tokens_per_second: float
    ratio: float


def capture(
    loaded: Loaded,
    prompt_file: Path,
    out: Path,
    settings: Settings,
    predictors: dict[str, LivePredictor] | None = None,
    advance: Callable[[int, int], None] = lambda done, of: None,
) -> Trace:
    """Record the routing of every prompt of ``prompt_file`` and of what the model writes next.

    ``out`` is a folder of parts or, if it ends in ``.parquet``, one file, whose parts are
    gathered in ``OUT.parts`` until all are there. A capture that was stopped goes on after the
    last request that was written. Raises TraceError before anything runs where the prompts, the
    folder or the settings do not allow it.
    """
    prompts = read_prompts(prompt_file)
    ids = encode(loaded, prompt_file, prompts, settings.max_new_tokens)
    documents = [prompt.document_number for prompt in prompts]
    one_file = out.suffix == ".parquet"
    if one_file and (settings.states or settings.logits or settings.timing):
        raise TraceError(f"{out}: states, logits and timings need a folder, not one file")
    if one_file and out.exists():
        raise TraceError(f"{out}: exists already")
    folder = out.with_name(f"{out.name}.parts") if one_file else out
    if folder.exists() and not folder.is_dir():
        raise TraceError(f"{folder}: is a file, not a folder of parts")
    predictors = predictors or {}
    meta = _meta(loaded, ids, documents, settings, predictors)
    with _only_one(folder), evaluating(loaded.model), ExitStack() as stack:
        inputs = settings.states or bool(predictors)
        recorder = RoutingRecorder(loaded.roles, inputs=inputs, logits=settings.logits)
        writer = TraceWriter(folder, meta, _part_rows(loaded, settings))
        done = len(writer.requests)
        if settings.states:
            _keep_gates(loaded, folder)
        if writer.requests != frozenset(range(done)):
            raise TraceError(f"{folder}: its requests are not the first of {prompt_file}")
        for stale in folder.glob(
            f"timing-{'[0-9]' * 6}.parquet"
        ):  # of requests that are done again
            if int(stale.stem.removeprefix("timing-")) >= done:
                stale.unlink()
        stack.enter_context(writer)  # what is whole is written, whatever ends the capture
        stack.enter_context(recorder)
        timer = TimingRecorder(loaded.roles, loaded.device) if settings.timing else None
        if timer is not None:
            stack.enter_context(timer)
        predict = _predict(predictors) if predictors else None
        advance(done, len(ids))
        while done < len(ids):
            numbers = range(done, min(done + settings.batch_size, len(ids)))
            how = _sampling(loaded, settings)
            batch = [ids[n] for n in numbers]
            decoder = Decoder(loaded.model, batch, numbers, how)
            try:
                rows = generate(decoder, recorder, predict, timer)
            except NoLogitsError:
                raise TraceError("--logits: the routers of this model give out none") from None
            if timer is not None:
                timer.write(folder / f"timing-{done:06d}.parquet")
            writer.append(*_batch(meta, rows, numbers, documents, settings, predictors))
            done = numbers.stop
            advance(done, len(ids))
    trace = read_trace(folder)
    if one_file:
        trace.path = out
        write_trace(out, trace)
        shutil.rmtree(folder)
    return trace


def measure_overhead(
    loaded: Loaded, prompt_file: Path, settings: Settings, rounds: int = 5
) -> Overhead:
    """Decode the first batch with and without hooks in turns; medians of the rounds."""
    prompts = read_prompts(prompt_file)[: settings.batch_size]
    steps = min(PROBE_STEPS, settings.max_new_tokens)
    ids = encode(loaded, prompt_file, prompts, steps)
    how = Sampling(steps)
    backend = torch.get_device_module(loaded.device)

    def decode(recorder: RoutingRecorder | None) -> float:
        decoder = Decoder(loaded.model, ids, range(len(ids)), how)
        with torch.no_grad(), recorder or ExitStack():
            decoder.feed()
            if recorder is not None:
                recorder.take()
            backend.synchronize()
            start, fed = time.perf_counter(), 0
            while decoder.running:
                fed += len(ids)
                decoder.feed()
                if recorder is not None:
                    recorder.take()
            backend.synchronize()
            return fed / (time.perf_counter() - start)

    hooked, plain = [], []
    started = time.perf_counter()
    with evaluating(loaded.model):
        decode(None)
        for _ in range(rounds):
            plain.append(decode(None))
            hooked.append(decode(RoutingRecorder(loaded.roles)))
            if time.perf_counter() - started > PROBE_SECONDS:
                break
    ratio = statistics.median(h / p for h, p in zip(hooked, plain))
    return Overhead(statistics.median(hooked), ratio)


def _meta(
    loaded: Loaded,
    ids: Sequence[Sequence[int]],
    documents: Sequence[int],
    settings: Settings,
    predictors: dict[str, LivePredictor],
) -> TraceMeta:
    """All that must be the same for a capture to go on, and nothing that may change."""
    text = hashlib.blake2b(repr((list(map(list, ids)), documents)).encode(), digest_size=8)
    recorded = {
        "source": f"captured while {type(loaded.model).__name__} ran",
        "weights": f"{loaded.digest} (digest of the routers)",
        "requests": str(len(ids)),
        "prompts": f"{text.hexdigest()} (digest)",
        "sampling": f"at most {settings.max_new_tokens} new tokens, temperature "
        f"{settings.temperature:g}, seed {settings.seed}; a decode row is the token fed in",
        "precision": f"{str(loaded.model.dtype).removeprefix('torch.')} on {loaded.device.type}",
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }
    kinds = [kind for kind in KINDS if kind in _kinds(settings)]
    if kinds:
        recorded["states"] = f"{', '.join(kinds)}, float16, beside the parts"
    info = {name: predictor.info for name, predictor in predictors.items()}
    return TraceMeta(model=loaded.spec, recorded=recorded, predictions=info)


def _kinds(settings: Settings) -> tuple[str, ...]:
    inputs = ("layer_input", "gate_input") if settings.states else ()
    return inputs + (("logits",) if settings.logits else ())


def _part_rows(loaded: Loaded, settings: Settings) -> int:
    widths = {"layer_input": loaded.spec.hidden, "gate_input": loaded.spec.hidden}
    widths["logits"] = loaded.spec.experts
    row = 2 * loaded.spec.moe_layers * sum(widths[kind] for kind in _kinds(settings))
    return max(1, min(PART_ROWS, PART_BYTES // max(1, row)))


def _keep_gates(loaded: Loaded, folder: Path) -> None:
    """For predictors that start from the layer's own gate; nothing where one is not linear."""
    spec = loaded.spec
    found = [part.matrix(spec.experts, spec.hidden) for part in loaded.roles.moe]
    gates = [gate for gate in found if gate is not None]
    if len(gates) == len(found):
        weight = torch.stack([weight for weight, _ in gates]).cpu().numpy()
        write_gates(folder, weight, torch.stack([bias for _, bias in gates]).cpu().numpy())


def _sampling(loaded: Loaded, settings: Settings) -> Sampling:
    return Sampling(settings.max_new_tokens, settings.temperature, settings.seed, loaded.stop)


def _predict(predictors: dict[str, LivePredictor]) -> Callable[[Recording, torch.Tensor], Named]:
    def predict(recording: Recording, tokens: torch.Tensor) -> Named:
        return {name: p.predict(recording, tokens) for name, p in predictors.items()}

    return predict


def _batch(
    meta: TraceMeta,
    rows: Rows,
    numbers: range,
    documents: Sequence[int],
    settings: Settings,
    predictors: dict[str, LivePredictor],
) -> tuple[Trace, dict[str, Array]]:
    """Rows of whole requests as a piece of trace, and the states beside it."""
    request = rows.request.numpy() + numbers.start
    document = np.asarray(documents, np.int64)[request]
    trace = Trace(
        path=None,
        meta=meta,
        request_id=request.astype(np.int32),
        position=rows.position.numpy().astype(np.int32),
        phase=np.where(rows.prefill.numpy(), PREFILL, DECODE).astype(np.int8),
        token_id=rows.token.numpy().astype(np.int32),
        experts=rows.recording.experts.numpy(),
        weights=rows.recording.weights.numpy().astype(np.float16),
        predictions={
            name: _prediction(predictor, *rows.named[name], document)
            for name, predictor in predictors.items()
        },
        document=document,
    )
    states = {kind: getattr(rows.recording, kind).numpy() for kind in _kinds(settings)}
    return trace, states


def _prediction(
    predictor: LivePredictor, experts: torch.Tensor, scores: torch.Tensor, document: Array
) -> Prediction:
    ids, chances = experts.numpy().astype(np.int16), scores.numpy().astype(np.float16)
    seen = np.isin(document, list(predictor.seen))
    ids[seen], chances[seen] = -1, 0
    return Prediction(predictor.info, ids, chances)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two captures into one folder would overwrite each other's parts."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TraceError(f"{folder}: another capture is writing to it") from None
        yield
