"""The timing record of ``trace capture --timing``: attention, gate and experts by layer and pass.

It was taken in eager PyTorch, so launches are in it: a rate is taken only from parts that launches
do not explain, never from the first pass, which has what happens once in it, and only where repeats
agree: what differs by as much as it takes is other work's. What the model is stands in the trace
beside it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from prefetch_sim.sim.calibration.samples import Findings, Note, Samples, Stamp
from prefetch_sim.sim.calibration.sources.broken import SourceError
from prefetch_sim.sim.cost.model import EAGER
from prefetch_sim.traces.format import TraceError, read_meta
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.models.weights import Weights
from prefetch_sim.traces.trace import TraceMeta

_COLUMNS = ("prefill", "requests", "tokens", "layer", "attention_us", "gate_us", "experts_us")
_CLEAR = 2.0  # times the launches of a part, from which on its bytes decide how long it takes
_MANY = 16  # tokens an expert, from which on arithmetic does
_DTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def day(path: Path) -> str:
    """When a file was written."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d")


def read(path: Path) -> tuple[str, Findings]:
    """Machine and findings of a capture's folder, or of one record in it. Raises SourceError."""
    files = sorted(path.glob("timing-*.parquet")) if path.is_dir() else [path]
    if not files:
        raise SourceError("no timing-*.parquet in this folder")
    try:
        frame = pd.concat([pd.read_parquet(file) for file in files])
    except FileNotFoundError:
        raise SourceError("no such file") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"not Parquet ({error})") from error
    missing = [name for name in _COLUMNS if name not in frame]
    if missing:
        raise SourceError(f"no column {', '.join(missing)}: not a timing record")
    folder = path if path.is_dir() else path.parent
    try:
        meta = read_meta(folder)
    except (TraceError, OSError) as error:
        raise SourceError(f"no trace beside it says what model was timed ({error})") from error
    precision, _, device = meta.recorded.get("precision", "bfloat16 on its device").partition(
        " on "
    )
    machine = f"{device}, which ran {meta.model.name}"
    stamp = Stamp(day(files[-1]), machine, "trace capture --timing")
    found = _findings(frame, meta, _DTYPES.get(precision, "bf16"), stamp)
    return machine, found


def _findings(frame: pd.DataFrame, meta: TraceMeta, precision: str, stamp: Stamp) -> Findings:
    model = meta.model
    decode = frame[(frame["prefill"] == 0) & (frame["requests"] == 1)]
    if decode.empty:
        decode = frame[frame["prefill"] == 0]
    gates = _samples(decode["gate_us"])
    if gates is None:
        raise SourceError("no decode pass with a gate that was timed")
    if _unsteady(gates):
        raise SourceError(
            f"gates took from {gates.p10:,.0f} to {gates.p90:,.0f} µs (10th to 90th percentile): "
            "something else ran meanwhile, so no rate can be told"
        )
    launch = gates.through(lambda us: us / EAGER.gate)
    found = Findings(
        hardware={
            "compute.eager_launch_us": stamp.figure(
                launch, f"a gate of {model.name}, over its {EAGER.gate} launches"
            )
        }
    )
    for name in ("attention", "gate", "experts"):
        for label, rows in (("decode", decode), ("prefill", frame[frame["prefill"] != 0])):
            if (one := _samples(rows[f"{name}_us"])) is not None:
                found.notes.append(Note(f"{label}, {name} of a layer", one, "µs"))
    _rates(found, decode, model, precision, launch.median, stamp)
    first = (frame["layer"].diff() <= 0).cumsum() == 0
    _flops(found, frame[(frame["prefill"] != 0) & ~first], model, launch.median, stamp)
    found.hardware = {path: one for path, one in found.hardware.items() if one.uncertainty < 1}
    return found


def _rates(
    found: Findings,
    decode: pd.DataFrame,
    model: ModelSpec,
    precision: str,
    launch: float,
    stamp: Stamp,
) -> None:
    """What memory gives attention and experts, where it is that which takes their time."""
    stored = Weights.of(model.model_copy(update={"expert_bytes": None}), precision)
    attention = _samples(decode["attention_us"])
    memory = None
    if attention is not None and attention.median > _CLEAR * EAGER.grouped_attention * launch:
        nbytes = float(np.mean(stored.attention))
        memory = attention.through(lambda us: nbytes / us / 1e3)
        note = f"attention of {model.name}, launches and its context in it: a lower bound"
        found.hardware["compute.memory_gb_s"] = stamp.figure(memory, note)
    experts = _samples(decode["experts_us"][decode["requests"] == 1])
    if memory is None or _unsteady(memory) or experts is None:
        return
    shared = float(np.mean(stored.shared)) if stored.shared else 0.0
    moved = model.top_k * float(np.mean(stored.experts)) + shared
    if experts.median > _CLEAR * EAGER.expert * model.experts * launch:
        share = experts.through(lambda us: min(1.0, moved / us / 1e3 / memory.median))
        note = f"the experts of one token of {model.name}, of memory_gb_s"
        found.hardware["compute.expert_efficiency"] = stamp.figure(share, note)


def _flops(
    found: Findings, prefill: pd.DataFrame, model: ModelSpec, launch: float, stamp: Stamp
) -> None:
    """What prompts reach that are long enough for every expert to have many tokens."""
    tokens = prefill["requests"] * prefill["tokens"]
    clear = prefill["experts_us"] > _CLEAR * EAGER.expert * model.experts * launch
    long = prefill[clear & (tokens * model.top_k >= _MANY * model.experts)]
    own = (
        6.0
        * model.hidden
        * (model.top_k * model.expert_hidden + model.shared_experts * model.shared_hidden)
    )
    rates = (long["requests"] * long["tokens"] * own / long["experts_us"] / 1e6).dropna()
    if len(rates):
        found.hardware["compute.tflops.bf16"] = stamp.figure(
            Samples.of(rates.tolist()), f"experts of {model.name} on prompts: a lower bound"
        )


def _unsteady(samples: Samples) -> bool:
    """Whether they are as far apart as they are long, which is no measurement."""
    return samples.spread >= 1


def _samples(values: pd.Series) -> Samples | None:
    kept = values.dropna()
    return Samples.of(kept.tolist()) if len(kept) else None
