"""A replay takes the simulation's decisions on real threads, and computes real outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.results.simulation import Replayed
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.results.timeline import LINKS, Recorder
from prefetch_sim.sim.run import replay, simulate
from prefetch_sim.sim.setup import inputs as setup
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.traces.format import Prediction, PredictionInfo, write_trace
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.synthetic import synthesise

pytest.importorskip("torch", reason="a replay needs torch")

MODEL = {
    "name": "small",
    "layers": 3,
    "hidden": 64,
    "experts": 8,
    "top_k": 2,
    "expert_hidden": 96,
    "attention": {"kind": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 16},
    "vocab": 64,
}
LATENT = {
    "kind": "mla",
    "heads": 4,
    "kv_rank": 16,
    "nope_dim": 8,
    "rope_dim": 8,
    "v_dim": 16,
}
ON_DISK = "jetson-orin-nano-8gb"  # one memory: experts come off storage
IN_MEMORY = "rtx-3090"


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def make(model: dict[str, Any] | None = None, **config: Any) -> Inputs:
        path = tmp_path / "model.yaml"
        path.write_text(yaml.safe_dump(MODEL | (model or {})))
        trace = {"synthetic": str(path), "requests": 2, "prompt": 3, "decode": 6}
        base = {
            "trace": trace,
            "model": str(path),
            "precision": "f32",
            "hardware": {"name": ON_DISK, "storage.read_mib": 0.0390625},
            "cache": {"capacity": "50%"},
        }
        return setup.load(RunConfig.model_validate({**base, **config}))

    return make


def on_cpu(inputs: Inputs, folder: Path) -> Replayed:
    return replay(inputs, device="cpu", storage=folder)


@pytest.mark.parametrize("hardware", [ON_DISK, IN_MEMORY])
@pytest.mark.parametrize("overlap", ["per_expert", "grouped", "none"])
def test_on_demand_every_hit_is_the_simulations(
    make: Any, tmp_path: Path, hardware: str, overlap: str
) -> None:
    inputs = make(
        hardware={"name": hardware, "storage.read_mib": 0.0390625},
        runtime={"overlap": overlap},
        cache={"capacity": "50%", "eviction": "lfu"},
    )
    measured, simulated = on_cpu(inputs, tmp_path).simulation, simulate(inputs)
    for name in ("step", "layer", "experts", "hits"):
        assert (measured.layers.column(name) == simulated.layers.column(name)).all(), name
    assert measured.totals.landed == simulated.totals.landed > 0
    assert measured.totals.moved_bytes == simulated.totals.moved_bytes


def test_outputs_are_those_with_everything_resident(make: Any, tmp_path: Path) -> None:
    def outputs(**config: Any) -> Any:
        return on_cpu(make(**config), tmp_path).outputs

    whole = outputs(cache={"capacity": "100%", "warm": "first"})
    assert np.isfinite(whole).all()
    assert whole.std() > 0.1
    tight = {"capacity": {"experts": 2}}
    everything = {"name": "oracle", "recall": 0.7}
    for config in (
        {"cache": tight},
        {"cache": tight, "runtime": {"overlap": "grouped"}},
        {"cache": tight, "runtime": {"overlap": "none"}},
        {"cache": tight, "hardware": IN_MEMORY},
        {"predictor": everything, "cache": {"capacity": "40%"}},
        {"predictor": [everything, "previous-token"], "host": {"capacity": "60%"},
         "hardware": {"name": IN_MEMORY, "storage.read_mib": 0.0390625}},
    ):  # fmt: skip
        assert (outputs(**config) == whole).all(), config


@pytest.mark.parametrize(
    "model",
    [
        {"attention": LATENT},
        {"attention": LATENT | {"q_rank": 24}, "dense_layers": [0], "dense_hidden": 80},
        {"shared_experts": 2, "shared_hidden": 48},
        {"attention": {**MODEL["attention"], "sliding_window": 4}},  # type: ignore[dict-item]
    ],
    ids=["latent", "dense-first", "shared", "window"],
)
def test_every_shape_computes(make: Any, tmp_path: Path, model: dict[str, Any]) -> None:
    inputs = make(model=model, batch_size=2)
    found = on_cpu(inputs, tmp_path)
    assert np.isfinite(found.outputs).all()
    simulated = simulate(inputs)
    assert found.simulation.totals.landed == simulated.totals.landed


def with_predictors(path: Path) -> str:
    """A trace of MODEL with a recorded predictor of the same layer and one of the next."""
    spec = ModelSpec.model_validate(MODEL)
    trace = synthesise(spec, requests=2, prompt=3, decode=6, skew=0.5, reuse=0.3, seed=1)
    said = {}
    for name, trigger, distance in (("near", "layer_start", 0), ("far", "gate_input", 1)):
        info = PredictionInfo(
            trigger=trigger, distance=distance, flops=8e3, bytes=8192, description="right"
        )
        scores = np.full(trace.experts.shape, 0.5, np.float16)
        said[name] = Prediction(info, trace.experts, scores)
    infos = {name: prediction.info for name, prediction in said.items()}
    trace.meta = trace.meta.model_copy(update={"predictions": infos})
    trace.predictions.update(said)
    write_trace(path, trace)
    return str(path)


@pytest.mark.parametrize("placement", ["side", "inline"])
def test_recorded_predictors_run_their_networks(make: Any, tmp_path: Path, placement: str) -> None:
    trace = with_predictors(tmp_path / "trace.parquet")
    predictor = [{"name": name, "placement": placement} for name in ("near", "far")]
    inputs = make(trace=trace, predictor=predictor)
    seen: list[str] = []

    def watch(device: Any, _: Any) -> None:
        device.on_compute = lambda start, duration, what: seen.append(what)

    found = replay(inputs, device="cpu", storage=tmp_path, watch=watch)
    layers, steps = inputs.workload.layers, len(found.simulation.steps)
    fired = (2 * layers - 1) * steps  # nothing is a layer ahead of the first
    assert seen.count("predictor") == (fired if placement == "inline" else 0)
    counts = results(found.simulation)["prefetch"]
    assert counts["timely"] + counts["late"] > 0
    whole = make(trace=trace, cache={"capacity": "100%", "warm": "first"})
    assert (on_cpu(whole, tmp_path).outputs == found.outputs).all()


def test_time_is_computing_waiting_and_its_own_work(make: Any, tmp_path: Path) -> None:
    inputs = make(predictor={"name": "oracle", "recall": 0.9})
    computed: list[int] = []

    def watch(device: Any, _: Any) -> None:
        device.on_compute = lambda start, duration, what: computed.append(duration)

    done = replay(inputs, device="cpu", storage=tmp_path, watch=watch).simulation
    found = results(done)
    parts = found["compute_ms"] + found["runtime_ms"] + sum(found["stall_ms"].values())
    assert parts == pytest.approx(found["total_ms"])
    assert found["compute_ms"] == pytest.approx(sum(computed) / 1e6)
    assert found["runtime_ms"] > 0
    assert found["engine"] == "replay"
    assert found["bounds_ms"] is None
    prefetch = found["prefetch"]
    assert prefetch["proposed"] == sum(prefetch[name] for name in prefetch if name != "proposed")
    layers = done.layers
    start, routed, end = (layers.column(name) for name in ("start", "routed", "end"))
    assert (start < routed).all()
    assert (routed < end).all()
    assert (end[:-1] <= start[1:]).all()


def test_a_timeline_shows_a_replay(make: Any, tmp_path: Path) -> None:
    inputs = make(predictor={"name": "oracle", "recall": 0.9})
    recorder = Recorder()
    done = replay(inputs, device="cpu", storage=tmp_path, watch=recorder.watch).simulation
    recorder.write(tmp_path / "timeline.json", done)
    events = json.loads((tmp_path / "timeline.json").read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    moved = [event for event in slices if event["pid"] == LINKS]
    assert len(moved) == 2 * done.totals.landed  # each in two reads
    computed = [event for event in slices if event["name"] == "experts"]
    assert len(computed) >= len(done.layers)
    for event in computed:
        assert 0 < event["ts"] < done.steps.column("end")[-1] / 1000


def test_what_cannot_be_replayed_is_one_line(make: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^precision.experts: a real device computes in f32"):
        on_cpu(make(precision="int4"), tmp_path)
    with pytest.raises(ConfigError, match=r"^predictor.0.cost_us: a replay runs the network"):
        on_cpu(make(predictor={"name": "previous-token", "cost_us": 3}), tmp_path)
    with pytest.raises(ConfigError, match=r"^--storage: experts come off storage"):
        replay(make(), device="cpu")
    with pytest.raises(ConfigError, match=r"^hardware.storage.read_mib: 41,943 bytes; what is"):
        on_cpu(make(hardware={"name": ON_DISK, "storage.read_mib": 0.04}), tmp_path)
    gated = {"attention": {**MODEL["attention"], "gated": True}}  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match=r"^model: small has gated, which a replay does not"):
        on_cpu(make(model=gated), tmp_path)
    with pytest.raises(ConfigError, match=r"^misses.policy: cpu: a replay loads"):
        on_cpu(make(hardware=IN_MEMORY, misses="cpu"), tmp_path)
