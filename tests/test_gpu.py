"""What a GPU alone can show: real streams, pinned memory, a capture that times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_replay import LATENT, make  # noqa: F401

torch = pytest.importorskip("torch", reason="needs torch")

from prefetch_sim.sim.replay.cuda import CudaDevice, EventTime, StreamEngine  # noqa: E402
from prefetch_sim.sim.replay.device import Clock, Mark, ReplayError  # noqa: E402
from prefetch_sim.sim.replay.gpu import TorchCuda  # noqa: E402
from prefetch_sim.sim.run import replay, simulate  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
GPU = "rtx-3090"
ORACLE = {"name": "oracle", "recall": 0.7}
TIGHT: dict[str, Any] = {"capacity": {"experts": 2}}
WHOLE: dict[str, Any] = {"capacity": "100%", "warm": "first"}
STAGED = {"name": GPU, "storage.read_mib": 0.0390625}


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("attention", [None, LATENT], ids=["grouped", "latent"])
def test_outputs_are_those_with_everything_resident(
    make: Any,  # noqa: F811
    tmp_path: Path,
    precision: str,
    attention: Any,
) -> None:
    def outputs(**config: Any) -> Any:
        model = {"attention": attention} if attention else {}
        inputs = make(model=model, **{"hardware": GPU, "precision": precision} | config)
        return replay(inputs, device="cuda", storage=tmp_path).outputs

    whole = outputs(cache=WHOLE)
    assert np.isfinite(whole).all()
    assert whole.std() > 0.1
    for config in (
        {"cache": TIGHT},
        {"cache": TIGHT, "runtime": {"overlap": "grouped"}},
        {"cache": TIGHT, "predictor": ORACLE, "batch_size": 1},
        {"cache": {"capacity": "40%"}, "predictor": [ORACLE, "previous-token"]},
        {"predictor": ORACLE, "host": {"capacity": "60%"}, "hardware": STAGED},
    ):
        assert (outputs(**config) == whole).all(), config


def test_on_demand_every_hit_is_the_simulations(make: Any) -> None:  # noqa: F811
    inputs = make(hardware=GPU, cache={"capacity": "50%"})
    found = replay(inputs, device="cuda")
    measured, simulated = found.simulation, simulate(inputs)
    assert (measured.layers.column("hits") == simulated.layers.column("hits")).all()
    start, routed, end = (measured.layers.column(name) for name in ("start", "routed", "end"))
    assert (start < routed).all()
    assert (routed < end).all()
    assert (end[:-1] <= start[1:]).all()
    print(found.machine)


def test_pinned_memory_is_copied_by_the_gpu_itself() -> None:
    cuda, size = TorchCuda(), 64 << 20
    pinned = cuda.pinned(size)
    assert pinned.is_pinned()
    pinned.random_(0, 256)
    there, stream = cuda.memory(size), cuda.stream()
    first = cuda.record(stream)
    for _ in range(20):
        cuda.launch(stream, lambda: cuda.copy(there, pinned))
    last = cuda.record(stream)
    behind = cuda.query(last)  # through already? Then copies held up whoever asked for them
    cuda.finish()
    assert not behind
    assert cuda.query(last)
    assert (there.cpu() == pinned).all()
    print(f"pinned to GPU: {20 * size / cuda.elapsed_ns(first, last):.1f} GB/s")
    for _ in range(3):  # memory that has been given back can be pinned again
        del pinned
        pinned = cuda.pinned(size)


def test_no_room_is_one_line() -> None:
    with pytest.raises(ReplayError, match=r"^GPU memory: no room for 10[\d.]+ GiB of experts"):
        TorchCuda().memory(1 << 40)
    assert TorchCuda().memory(1 << 20).numel() == 1 << 20


def test_one_stream_waits_for_another() -> None:
    """A long copy, then what is computed from it ``after``."""
    clock = Clock()
    with CudaDevice(clock) as device:
        cuda = device._cuda
        copies, computes = (StreamEngine(cuda, clock, EventTime(cuda, clock)) for _ in range(2))
        source = cuda.pinned(256 << 20)
        source.fill_(3)
        slot, sums = cuda.memory(len(source)), []
        copied, computed = Mark("copy"), Mark("compute")
        copies.put(lambda: device.copy(slot.zero_(), source), copied)
        computes.put(lambda: sums.append(slot[-1024:].sum()), computed, [copied])
        while computes.through() is None:
            pass
        assert int(sums[0]) == 3 * 1024
        while copies.through() is None:
            pass
        assert 0 < copied.start < copied.end <= computed.end <= clock()


def test_a_capture_times_every_layer(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the capture extra")
    import pandas as pd
    from families import save
    from test_capture import write_prompts

    from prefetch_sim.traces.capture.models import load_model
    from prefetch_sim.traces.capture.session import Settings, capture

    loaded = load_model(str(save("Qwen3Moe", tmp_path / "model")), "cuda")
    prompts = write_prompts(tmp_path / "prompts.jsonl")
    trace = capture(loaded, prompts, tmp_path / "trace", Settings(6, 2, timing=True))
    assert trace.tokens > 0
    frames = [pd.read_parquet(path) for path in (tmp_path / "trace").glob("timing-*.parquet")]
    timed = pd.concat(frames)[["attention_us", "gate_us", "experts_us"]]
    assert len(timed)
    assert (timed > 0).all().all()
