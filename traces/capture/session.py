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

from prefetch_sim.traces.capture.encoding import encode
from prefetch_sim.traces.capture.generate import (
    Decoder,
    Named,
    Rows,
    Sampling,
    evaluating,
    generate,
    pads_well,
    passes,
)
from prefetch_sim.traces.capture.models import Loaded
from prefetch_sim.traces.capture.prompts import read_prompts
from prefetch_sim.traces.capture.recorder import NoLogitsError, Recording, RoutingRecorder
from prefetch_sim.traces.capture.timing import TimingRecorder
from prefetch_sim.traces.files import remove_numbered
from prefetch_sim.traces.format import read_meta, read_trace, write_trace
from prefetch_sim.traces.parts import is_trace, open_parts, part_paths
from prefetch_sim.traces.states import BESIDE, GATES, KINDS, write_gates
from prefetch_sim.traces.trace import (
    DECODE,
    PREFILL,
    Array,
    Prediction,
    PredictionInfo,
    Trace,
    TraceError,
    TraceMeta,
)
from prefetch_sim.traces.writer import TraceWriter, check_same

PART_ROWS, PART_BYTES = 4096, 1 << 28
OWN = ("part-*.parquet", "part-*.npy", "timing-*.parquet", "figures")  # in a trace's folder
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
    last request that was written, and one that is finished is read. Raises TraceError before
    anything runs where the prompts, the folder or the settings do not allow it.
    """
    folder = parts_folder(out, settings)
    prompts = read_prompts(prompt_file)
    ids = encode(loaded, prompt_file, prompts, settings.max_new_tokens)
    documents = [prompt.document_number for prompt in prompts]
    predictors = predictors or {}
    meta = _meta(loaded, ids, documents, settings, predictors)
    if folder != out and out.exists():
        check_same(out, read_meta(out), meta)
        advance(len(ids), len(ids))
        finished = read_trace(out)
        if finished.missing:
            raise TraceError(f"{out}: exists already, with {finished.missing:,} requests missing")
        return finished
    with _only_one(folder), evaluating(loaded.model), ExitStack() as stack:
        _check_padding(loaded, ids, settings.batch_size)
        recorder = _recorder(loaded, settings, bool(predictors))
        writer = TraceWriter(folder, meta, _part_rows(loaded, settings))
        done = len(writer.requests)
        _keep_gates(loaded, folder, settings.states)
        if writer.requests != frozenset(range(done)):
            raise TraceError(f"{folder}: its requests are not the first of {prompt_file}")
        remove_numbered(folder, "timing-*.parquet", done)
        stack.enter_context(writer)  # what is whole is written, whatever ends the capture
        stack.enter_context(recorder)
        timer = _timer(loaded, settings, stack)
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
    if folder != out:
        trace.path = out
        write_trace(out, trace)
        shutil.rmtree(folder)
    return trace


def parts_folder(out: Path, settings: Settings) -> Path:
    """Where the parts of ``out`` are gathered. Raises TraceError for what cannot be written to."""
    if out.suffix != ".parquet":
        if out.exists() and not out.is_dir():
            raise TraceError(f"{out}: is a file, not a folder of parts")
        for path in out.glob("[!.]*"):
            if not any(path.match(own) for own in (*OWN, GATES)):
                raise TraceError(f"{out}: holds {path.name}, which is no part of a trace")
        return out
    if settings.states or settings.logits or settings.timing:
        raise TraceError(f"{out}: states, logits and timings need a folder, not one file")
    folder = out.with_name(f"{out.name}.parts")
    if out.exists() and not is_trace(out):
        left = f"; {folder}, of which it was made, can go" if folder.exists() else ""
        raise TraceError(f"{out}: exists already{left}")
    if folder.exists() and not folder.is_dir():
        raise TraceError(f"{folder}: is a file, not a folder of parts")
    return folder


def kept(out: Path) -> int:
    """How many requests are there of a capture, in its folder or its file."""
    if not (part_paths(out) or out.is_file()):
        return 0
    return len(np.unique(np.concatenate([part.read_ids() for part in open_parts(out)])))


def _check_padding(loaded: Loaded, ids: Sequence[Sequence[int]], batch_size: int) -> None:
    lengths = list(map(len, ids))
    batches = (lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size))
    if any(len(set(batch)) > 1 for batch in batches) and not pads_well(loaded.model):
        raise TraceError(
            f"{loaded.spec.name}: routes otherwise where prompts of different lengths run together "
            "(padding enters its state): --batch-size 1"
        )


def measure_overhead(
    loaded: Loaded,
    prompt_file: Path,
    settings: Settings,
    predictors: dict[str, LivePredictor] | None = None,
    rounds: int = 25,
) -> Overhead:
    """Decode the first batch as ``capture`` does and without hooks, in turns; medians of rounds."""
    prompts = read_prompts(prompt_file)[: settings.batch_size]
    steps = min(PROBE_STEPS, settings.max_new_tokens)
    ids = encode(loaded, prompt_file, prompts, steps)
    backend = torch.get_device_module(loaded.device)
    predict = _predict(predictors) if predictors else None

    def rate(decode: Callable[[Decoder], Iterator[Any]]) -> float:
        fed = decode(Decoder(loaded.model, ids, range(len(ids)), Sampling(steps)))
        next(fed)  # the prompts
        backend.synchronize()
        start = time.perf_counter()
        done = len(ids) * sum(1 for _ in fed)
        backend.synchronize()
        return done / (time.perf_counter() - start)

    def plain(decoder: Decoder) -> Iterator[None]:
        while decoder.running:
            with torch.no_grad():
                decoder.feed()
            yield

    def hooked(decoder: Decoder) -> Iterator[Any]:
        with ExitStack() as stack:
            recorder = stack.enter_context(_recorder(loaded, settings, predict is not None))
            timer = _timer(loaded, settings, stack)
            yield from passes(decoder, recorder, predict, timer)

    rates, without = [], []
    started = time.perf_counter()
    with evaluating(loaded.model):
        rate(plain)
        for _ in range(rounds):
            without.append(rate(plain))
            rates.append(rate(hooked))
            if time.perf_counter() - started > PROBE_SECONDS:
                break
    ratio = statistics.median(h / p for h, p in zip(rates, without))
    return Overhead(statistics.median(rates), ratio)


def _recorder(loaded: Loaded, settings: Settings, predicted: bool) -> RoutingRecorder:
    inputs = settings.states or predicted
    return RoutingRecorder(loaded.roles, inputs=inputs, logits=settings.logits)


def _timer(loaded: Loaded, settings: Settings, stack: ExitStack) -> TimingRecorder | None:
    if not settings.timing:
        return None
    return stack.enter_context(TimingRecorder(loaded.roles, loaded.device))


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
        "weights": f"{loaded.digest} (digest)",
        "requests": str(len(ids)),
        "prompts": f"{text.hexdigest()} (digest)",
        "sampling": f"at most {settings.max_new_tokens} new tokens, temperature "
        f"{settings.temperature:g}, seed {settings.seed}; a decode row is the token fed in",
        "precision": f"{str(loaded.model.dtype).removeprefix('torch.')} on {loaded.device.type}",
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }
    if loaded.stored:
        recorded["checkpoint"] = loaded.stored
    if loaded.inferred:
        recorded["shape"] = "as its modules have it: a family whose config.json is not known"
    kinds = [kind for kind in KINDS if kind in _kinds(settings)]
    if kinds:
        recorded["states"] = f"{', '.join(kinds)}, float16, {BESIDE}"
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


def _keep_gates(loaded: Loaded, folder: Path, states: bool) -> None:
    """For predictors that start from the layer's own gate; nothing where one is not linear."""
    spec = loaded.spec
    found = [part.matrix(spec.experts, spec.hidden) for part in loaded.roles.moe if states]
    gates = [gate for gate in found if gate is not None]
    (folder / GATES).unlink(missing_ok=True)  # an earlier model's
    if gates and len(gates) == len(found):
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
        for name in (".part-*.tmp", ".timing-*.tmp", f".{GATES}.*.tmp"):  # of one that was killed
            for half in folder.glob(name):
                half.unlink()
        yield
