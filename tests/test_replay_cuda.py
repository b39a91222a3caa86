"""Streams of a GPU that is not there: whatever is through when, outputs are the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from test_replay import LATENT, MODEL, make  # noqa: F401

torch = pytest.importorskip("torch", reason="a replay needs torch")

from fake_cuda import FakeCuda  # noqa: E402

from prefetch_sim.sim.config.errors import ConfigError  # noqa: E402
from prefetch_sim.sim.replay import cuda, engine  # noqa: E402
from prefetch_sim.sim.replay.cuda import CudaDevice, EventTime, StreamEngine  # noqa: E402
from prefetch_sim.sim.replay.device import Clock, Mark, ReplayError  # noqa: E402
from prefetch_sim.sim.replay.gpu import TorchCuda  # noqa: E402
from prefetch_sim.sim.results.simulation import Replayed  # noqa: E402
from prefetch_sim.sim.run import replay, simulate  # noqa: E402

GPU = "rtx-3090"
STAGED = {"name": GPU, "storage.read_mib": 0.0390625}
ORACLE = {"name": "oracle", "recall": 0.7}
TIGHT: dict[str, Any] = {"capacity": {"experts": 2}}
WHOLE: dict[str, Any] = {"capacity": "100%", "warm": "first"}
Outputs = npt.NDArray[np.float32]


@pytest.fixture
def on_gpu(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811
    def run(seed: int = 0, pinned: int | None = None, **config: Any) -> Replayed:
        monkeypatch.setattr(cuda, "TorchCuda", partial(FakeCuda, seed))
        inputs = make(**({"hardware": GPU} | config))
        return replay(inputs, device="cuda", storage=tmp_path, pinned=pinned)

    return run


@pytest.fixture
def whole(make: Any) -> Outputs:  # noqa: F811
    """With everything resident, computed by threads."""
    return replay(make(hardware=GPU, cache=WHOLE), device="cpu").outputs


CONFIGS: list[dict[str, Any]] = [
    {"cache": WHOLE},
    {"cache": TIGHT},
    {"cache": TIGHT, "runtime": {"overlap": "grouped"}},
    {"cache": TIGHT, "predictor": ORACLE, "hardware": {"name": GPU, "host_link.chunk_mib": 0.02}},
    {"predictor": [ORACLE, "previous-token"], "cache": {"capacity": "40%"}},
    {"predictor": ORACLE, "host": {"capacity": "60%"}, "hardware": STAGED},
]


@pytest.mark.parametrize("seed", range(3))
def test_outputs_are_those_with_everything_resident(on_gpu: Any, whole: Outputs, seed: int) -> None:
    for config in CONFIGS:
        assert (on_gpu(seed, **config).outputs == whole).all(), config


def test_on_demand_every_hit_is_the_simulations(on_gpu: Any, make: Any) -> None:  # noqa: F811
    config = {"cache": {"capacity": "50%", "eviction": "lfu"}}
    measured, simulated = on_gpu(**config).simulation, simulate(make(hardware=GPU, **config))
    for name in ("step", "layer", "experts", "hits"):
        assert (measured.layers.column(name) == simulated.layers.column(name)).all(), name
    assert measured.totals.moved_bytes == simulated.totals.moved_bytes


def test_times_are_in_order(on_gpu: Any) -> None:
    done = on_gpu(predictor=ORACLE).simulation
    start, routed, end = (done.layers.column(name) for name in ("start", "routed", "end"))
    assert (start < routed).all()
    assert (routed < end).all()
    assert (end[:-1] <= start[1:]).all()
    assert done.own_ns >= 0


def test_the_paper_s_precision_and_attention(on_gpu: Any) -> None:
    config = {"precision": "bf16", "model": {"attention": LATENT}, "batch_size": 2}
    expected = on_gpu(cache=WHOLE, **config).outputs
    assert np.isfinite(expected).all()
    assert (on_gpu(1, cache=TIGHT, predictor=ORACLE, **config).outputs == expected).all()


def test_a_landing_told_before_its_query_is_met(
    on_gpu: Any, whole: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: copies count as through once they are asked for."""
    monkeypatch.setattr(engine, "check_held", lambda *_: None)  # outputs alone meet it

    def at_once(self: CudaDevice) -> Mark:
        while True:
            for stream in self._streams:
                if stream in self._streams[2:] and stream._asked:  # copies
                    return stream._asked.popleft()[0]
                if (mark := stream.through()) is not None:
                    return mark

    monkeypatch.setattr(CudaDevice, "_next", at_once)
    assert (on_gpu(cache=TIGHT).outputs != whole).any()


def test_room_made_before_it_was_read_is_met(
    on_gpu: Any, whole: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a layer counts as computed once it is asked for, so that its slots are reused."""
    monkeypatch.setattr(engine, "check_held", lambda *_: None)
    through = StreamEngine.through

    def at_once(self: StreamEngine) -> Mark | None:
        if self._asked and self._asked[0][0].what in ("experts", "shared experts", "combine"):
            self._in_vain.popleft()
            mark = self._asked.popleft()[0]
            mark.start = mark.end = self._clock()
            return mark
        return through(self)

    monkeypatch.setattr(StreamEngine, "through", at_once)
    found = [on_gpu(seed, cache=TIGHT, predictor=ORACLE).outputs for seed in range(3)]
    assert any((outputs != whole).any() for outputs in found)


def test_what_a_slot_holds_is_looked_at_when_all_is_over(
    on_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeCuda, "copy", lambda self, target, source: target.zero_())
    with pytest.raises(ReplayError, match=r"^host memory: expert \d+ came as something else"):
        on_gpu(cache=TIGHT)


@pytest.mark.parametrize("waits", [True, False])
def test_a_missing_wait_is_met(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stream copies, another computes from it ``after``; planted: no wait between the two."""
    if not waits:
        monkeypatch.setattr(FakeCuda, "wait", lambda *_: None)
    fake, clock = FakeCuda(), Clock()
    copies, computes = (StreamEngine(fake, clock, EventTime(fake, clock)) for _ in range(2))  # type: ignore[arg-type]
    slot, found = torch.zeros(4), torch.zeros(4)
    copied, computed = Mark("copy"), Mark("compute")
    copies.put(lambda: fake.copy(slot, torch.ones(4)), copied)
    computes.put(lambda: found.copy_(slot * 2), computed, [copied])
    while computes.through() is None:
        pass
    assert bool((found == 2).all()) == waits


def test_copies_are_issued_ahead_and_no_further(
    on_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    put = StreamEngine.put

    def counted(self: StreamEngine, work: Any, mark: Mark, after: Sequence[Mark] = ()) -> None:
        put(self, work, mark, after)
        if mark.what.startswith("host_link"):
            waiting.append(len(self._asked))

    monkeypatch.setattr(StreamEngine, "put", counted)
    on_gpu(predictor={"name": "oracle"})
    assert max(waiting) == CudaDevice.ahead == 2


def test_experts_share_blocks_where_not_all_can_be_pinned(on_gpu: Any, whole: Outputs) -> None:
    few = 10 * 18 * 4096  # of 24 experts, each 18 pages
    expected = on_gpu(pinned=few, cache=WHOLE)
    assert expected.machine["experts"].endswith("expert x in block x mod 10")
    assert (expected.outputs != whole).any()
    assert (on_gpu(pinned=few, cache=TIGHT, predictor=ORACLE).outputs == expected.outputs).all()
    told = on_gpu(cache=TIGHT).machine["experts"]
    assert told == "24 experts in 1.69 MiB of host memory"


def test_a_gpu_s_clock_that_runs_away_is_held() -> None:
    """It gains 1 ms a second: what it says stays within what the host has seen."""
    fake, clock = FakeCuda(drift=1e-3), Clock()
    time = EventTime(fake, clock)  # type: ignore[arg-type]
    stream = StreamEngine(fake, clock, time)  # type: ignore[arg-type]
    for _ in range(200):
        mark, begun = Mark("some"), clock()
        stream.put(lambda: sum(range(2000)), mark)
        while stream.through() is None:
            pass
        assert begun <= mark.end <= clock()
        assert mark.start <= mark.end


def test_failures_on_the_gpu_are_one_line(on_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access\nCompile with more")

    with monkeypatch.context() as planted:
        planted.setattr(FakeCuda, "copy", fails)
        with pytest.raises(ReplayError, match=r"^host_link, expert \d+: CUDA error: an illegal"):
            on_gpu(cache=TIGHT)

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"
        )

    monkeypatch.setattr(torch, "randn", full)
    with pytest.raises(ReplayError, match=r"^GPU memory: .*Tried to allocate 2.00 GiB$"):
        on_gpu(cache=TIGHT)


def test_no_room_says_how_much_was_asked_for(on_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(what: str) -> Any:
        def refuse(self: FakeCuda, nbytes: int) -> Any:
            raise ReplayError(f"{what}: no room for {nbytes / 2**30:.1f} GiB")

        return refuse

    for call, what in (("memory", "GPU memory"), ("pinned", "pinned host memory")):
        engine._kept.clear()
        with monkeypatch.context() as planted:
            planted.setattr(FakeCuda, call, none(what))
            with pytest.raises(ReplayError, match=f"^{what}: no room for 0.0 GiB$"):
                on_gpu(cache=TIGHT)


def test_pinned_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered with the driver as long as a tensor of it lives, and refused in one line."""
    known: list[int] = []

    class Runtime:
        class cudaError:  # noqa: N801
            success = 0

        said = 0

        def cudaHostRegister(self, at: int, nbytes: int, flags: int) -> int:  # noqa: N802
            known.append(at)
            return self.said

        def cudaHostUnregister(self, at: int) -> None:  # noqa: N802
            known.remove(at)

        def cudaGetErrorString(self, said: int) -> str:  # noqa: N802
            return "out of memory"

    runtime = Runtime()
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    gpu = object.__new__(TorchCuda)
    memory = gpu.pinned(8192)
    part = memory.view(2, -1)[1]
    assert known == [memory.data_ptr()]
    del memory
    assert known
    del part
    assert not known
    runtime.said = 2
    gpu.device = torch.device("cpu")

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(ReplayError, match=r"^pinned host memory: no room for 0.0 GiB \(out of mem"):
        gpu.pinned(8192)


def test_where_there_is_no_gpu_it_is_one_line(make: Any) -> None:  # noqa: F811
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError, match=r"^--device cuda: no CUDA device: \w+"):
        replay(make(hardware=GPU), device="cuda")
    with pytest.raises(ConfigError, match=r"^hardware.unified_memory: a GPU gets its experts over"):
        replay(make(), device="cuda")


def test_streams_that_copy_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures traffic both ways gets two."""
    monkeypatch.setattr(cuda, "TorchCuda", FakeCuda)
    with CudaDevice(Clock()) as device:
        one, other = device.lanes("host_link", 2)
        assert one is not other
        marks = [Mark("there"), Mark("back")]
        for lane, mark in zip((one, other), marks):
            lane.put(lambda: None, mark)
        for mark in marks:
            device.until(mark)
