"""Calibration: figures from samples, profiles from figures, and what is read of other tools."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_support import Ended, run_cli, small_trace, write_config

from prefetch_sim.hardware_profiles import load_profile, load_runtime, override
from prefetch_sim.hardware_profiles.drafts import as_yaml, complete, complete_runtime
from prefetch_sim.hardware_profiles.schema import Figure
from prefetch_sim.sim.calibration import link, memory, operators, samples, sources, storage
from prefetch_sim.sim.calibration.comparison import compare
from prefetch_sim.sim.calibration.operators import Operator
from prefetch_sim.sim.calibration.profile import profiles
from prefetch_sim.sim.calibration.samples import Findings, Samples, Stamp
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.cost.transfers import Storage
from prefetch_sim.traces.models.weights import Weights

STAMP = Stamp("2026-11-28", "A Box")
PROBE = Path(__file__).parent / "calibration" / "gpu_probe_cpu.json"


def figure(value: float) -> Figure:
    return Figure(value=value, kind="measured", source="measured here", uncertainty=0.1)


@pytest.mark.parametrize("unified", [False, True])
def test_what_was_measured_stands_and_the_rest_is_the_nearest_machine_s(unified: bool) -> None:
    measured = {
        "compute.memory_gb_s": figure(880),
        "compute.memory_gib": figure(24),
        "host_link.gb_s": figure(26.5),
        "contention.cpu": figure(0.7),
        "storage.gb_s": figure(5.5),
    }
    made = complete("mine", "a machine", measured, unified=unified)
    flat = made.profile.flat()
    kept = {path: one for path, one in measured.items() if not unified or path in flat}
    assert {path: flat[path] for path in kept} == kept
    assert ("host_link.gb_s" in flat) is not unified
    rest = [one for path, one in flat.items() if path not in measured]
    assert all(one.kind == "estimate" and "taken from" in one.source for one in rest)
    assert flat["compute.launch_us"].value == load_profile(made.like).compute.launch_us.value


@pytest.mark.parametrize("unified", [False, True])
def test_what_is_of_a_link_is_of_the_machine_that_has_one(unified: bool) -> None:
    found = Findings(
        {"host_link.gb_s": figure(6), "compute.beside_loads": figure(0.7)},
        {"compute.beside_loads": figure(0.6)},
    )
    made = profiles("mine", "a machine", found, unified=unified).machines
    shares = {part: one.profile.compute.beside_loads for part, one in made.items()}
    over_link = figure(0.6)
    assert shares == ({"": figure(0.7), ".copies": over_link} if unified else {"": over_link})


def test_profiles_are_written_as_they_are_read(tmp_path: Path) -> None:
    machine = complete("mine", "ein Gerät: #1", {"cpu.threads": figure(2)}, unified=False).profile
    runtime = complete_runtime("my-engine", "x", {"layer_us": figure(3)}, lacks=("cpu",))
    for profile, load in ((machine, load_profile), (runtime, load_runtime)):
        path = tmp_path / f"{profile.name}.yaml"
        path.write_text(as_yaml(profile, ["storage, 1 MiB: 2 GB/s"]), encoding="utf-8")
        assert load(path) == profile
    assert runtime.layer_us == figure(3)
    assert runtime.step_us.kind == "estimate"


def test_every_profile_of_the_catalogue_survives_being_written(tmp_path: Path) -> None:
    for name, load in (("t4", load_profile), ("llama.cpp", load_runtime)):
        path = tmp_path / "copy.yaml"
        path.write_text(as_yaml(load(name)), encoding="utf-8")
        assert load(path).flat() == load(name).flat()


# Fits


def noisy(us: float, rng: np.random.Generator) -> Samples:
    return Samples.of((us * (1 + 0.03 * rng.standard_normal(40))).tolist())


def test_a_line_through_noisy_copies_finds_what_they_were_made_with() -> None:
    rng = np.random.default_rng(1)
    sizes = [2**18, 2**20, 2**22, 2**24, 2**26]
    queued = {size: noisy(3.0 + size / 24.5e3, rng) for size in sizes}
    isolated = {size: noisy(19.0 + size / 24.5e3, rng) for size in sizes}
    found = link.findings(link.LinkTimes(isolated=isolated, queued=queued), STAMP).hardware
    assert found["host_link.gb_s"].value == pytest.approx(24.5, rel=0.02)
    assert found["host_link.isolated_us"].value == pytest.approx(19.0, rel=0.15)
    assert found["host_link.back_to_back_us"].value == pytest.approx(3.0, rel=0.3)
    assert all(one.kind == "measured" for one in found.values())


def test_a_line_has_no_negative_part() -> None:
    falling = {1000: Samples(3, 9, 10, 11), 2000: Samples(3, 4, 5, 6)}
    fitted = samples.line(falling)
    assert min(fitted.fixed_us.quantiles) >= 0
    assert min(fitted.gb_s.quantiles) > 0
    assert samples.fixed({2**20: Samples(3, 1, 1, 1)}, gb_s=1.0).median == 0


def test_a_drive_s_figures_are_those_of_the_formula_that_reads_them() -> None:
    """Rates by size and depth as the formula of `Storage` gives them."""
    rng = np.random.default_rng(2)
    disk = Storage(3.2, 1.6, 90_000, 2**20, 32)
    single = {
        size: noisy(disk.read(0, 0, size)[1] / 1e3, rng) for size in (2**12, 2**16, 2**18, 2**20)
    }
    rate = {}
    for block in (2**18, 2**20):
        for depth in (1, 2, 4, 8):
            reads, free, ends = 400, 0, [0] * depth
            for _ in range(reads):
                free, end = disk.read(min(ends), free, block)
                ends[ends.index(min(ends))] = end
            rate[block, depth] = noisy(block * reads / max(ends), rng)
    found = storage.findings(storage.StorageTimes(single, rate), STAMP).hardware
    assert found["storage.gb_s"].value == pytest.approx(3.2, rel=0.05)
    assert found["storage.stream_gb_s"].value == pytest.approx(1.6, rel=0.05)
    assert found["storage.latency_us"].value == pytest.approx(90, rel=0.05)
    assert found["storage.queue_depth"].value == 4  # two reads of 1 MiB do not fill the bus
    assert found["storage.read_mib"].value == 1


def made_up_operators(rng: np.random.Generator) -> list[Operator]:
    """100 GB/s for large products, 70 for experts, 20 TFLOPS, 2 µs a launch."""
    found = []
    for model in ("deepseek-v2-lite", "qwen3-30b-a3b", "phi-mini-moe"):
        spec = load_model(model)
        bytes_ = Weights.of(spec, "bf16")
        attention, expert = bytes_.attention[0], bytes_.experts[0]
        found.append(
            Operator(model, "attention", 16, attention, 0, noisy(attention / 1e5 + 14, rng))
        )
        found.append(Operator(model, "head", 1, bytes_.head, 0, noisy(bytes_.head / 1e5 + 2, rng)))
        flops = 6.0 * spec.hidden * spec.expert_hidden
        found.append(Operator(model, "expert", 1, expert, flops, noisy(expert / 7e4 + 6, rng)))
        many = 512 * flops
        found.append(Operator(model, "expert", 512, expert, many, noisy(many / 20e6 + 6, rng)))
    return found


def test_operators_give_back_the_figures_they_were_made_with() -> None:
    made = made_up_operators(np.random.default_rng(3))
    found = operators.findings(made, 2.0, STAMP).hardware
    assert found["compute.memory_gb_s"].value == pytest.approx(100, rel=0.04)
    assert found["compute.expert_efficiency"].value == pytest.approx(0.7, rel=0.06)
    assert found["compute.tflops.bf16"].value == pytest.approx(20, rel=0.06)


def test_a_calibrated_profile_predicts_the_operators_it_was_made_from() -> None:
    made = [op for op in made_up_operators(np.random.default_rng(4)) if op.name != "head"]
    hardware = operators.findings(made, 2.0, STAMP).hardware
    hardware["compute.launch_us"] = figure(2.0)
    profile = complete("mine", "x", hardware, unified=False).profile
    for name in ("qwen3-30b-a3b", "phi-mini-moe"):
        rows = compare(load_model(name), made, profile, load_runtime("ideal"), "bf16")
        assert [row.operator for row in rows] == ["attention", "expert", "expert"]
        assert max(abs(row.off_pct) for row in rows) < 8, rows


def test_a_layer_s_launches_are_spread_over_its_kernels() -> None:
    one = {"norm": 3, "attention": 18, "gate": 6, "combine": 9, "expert": 9}  # 3 µs a kernel
    made = [Operator("tiny", name, 1, 0, 0, Samples(5, us, us, us)) for name, us in one.items()]
    assert operators.layer_launch(made).median == pytest.approx(3.0)


def test_contention_is_a_share_of_what_each_reaches_alone() -> None:
    times = memory.MemoryTimes(
        reads={1: Samples(3, 9, 10, 11), 4: Samples(3, 30, 33, 34)},
        experts={1: Samples(9, 9, 10, 11), 2: Samples(9, 19, 20, 21), 4: Samples(9, 19, 20.5, 22)},
        many=Samples(9, 0.9, 1, 1.1),
        start=Samples(9, 3, 4, 5),
        copies=Samples(9, 9, 10, 11),
        experts_beside={"copies": Samples(9, 14, 15, 16)},
        copies_beside=Samples(9, 7, 8, 12),
    )
    found = memory.findings(times, STAMP).hardware
    assert found["cpu.threads"].value == 2
    assert found["cpu.expert_gb_s.bf16"].value == 20
    assert found["contention.cpu"].value == pytest.approx(0.75)
    assert found["contention.host_link"].value == pytest.approx(0.8)


def test_a_figure_says_when_where_how_often_and_how_far_apart() -> None:
    made = STAMP.figure(Samples(40, 9.5, 10, 11), "copies")
    assert (made.value, made.kind, made.uncertainty) == (10, "measured", 0.075)
    assert made.source == (
        "measured 2026-11-28 on A Box: copies; median of 40, 10th to 90th percentile 9.5–11"
    )
    assert "no spread given" in STAMP.figure(Samples(1, 3, 3, 3)).source


# What others measured


def metrics_file(path: Path, own: bool = True) -> Path:
    """Four lanes at 0.5 GB/s each; bookkeeping of 2 ms, and 50 µs a MiB."""
    lines = ["step,steps,wall_ms,io_ms,compute_ms,read_bytes" + (",mgmt_ms" if own else "")]
    for step in range(1, 31):
        nbytes = step * 5 * 2**20
        io = nbytes / 0.5e6
        lines.append(
            f"{step},30,{200 + io},{io},100,{nbytes}" + (f",{2 + 0.25 * step}" if own else "")
        )
    path.write_text("\n".join([*lines, "# summary tokens=30"]), encoding="utf-8")
    return path


def benchbw_file(path: Path) -> Path:
    kernel = {
        "expert_bytes": 9437184, "cpu_moe_gbs": 60.0, "cpu_moe_overlap_gbs": 48.0,
        "pcie_gather_gbs": 24.0, "pcie_gather_overlap_gbs": 22.8,
    }  # fmt: skip
    content = {
        "version": 4, "epoch": 1790000000, "gpu": {"name": "FAKE GPU"},
        "cpu": {"physical_cores": 16, "threads_used": 12},
        "ceilings": {"cpu_stream_read_gbs": 90.0, "pcie_linear_h2d_gbs": 25.0},
        "dtype_kernels": {"bf16": kernel, "nvfp4": {**kernel, "cpu_moe_gbs": 50.0}},
    }  # fmt: skip
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_probe_s_file_is_read(tmp_path: Path) -> None:
    found = sources.read(PROBE)
    flat = found.findings.hardware | found.findings.runtime
    assert (found.format, found.unified) == ("gpu_probe.py", True)
    assert {"host_link.gb_s", "compute.memory_gb_s", "compute.launch_us", "routing_us"} <= set(flat)
    assert all(one.kind == "measured" and "gpu_probe.py" in one.source for one in flat.values())
    assert "compute.tflops.bf16" not in flat  # four tokens are bound by memory
    on_gpu = json.loads(PROBE.read_text())
    on_gpu["machine"]["gpu"] = "NVIDIA Fake"
    (tmp_path / "gpu.json").write_text(json.dumps(on_gpu))
    assert sources.read(tmp_path / "gpu.json").unified is False


def test_freetoken_s_file_is_read(tmp_path: Path) -> None:
    found = sources.read(benchbw_file(tmp_path / "benchbw.json"))
    flat = {path: one.value for path, one in found.findings.hardware.items()}
    assert found.machine == "FAKE GPU"
    assert flat == {
        "host_link.gb_s": 25, "cpu.threads": 12, "cpu.expert_gb_s.bf16": 60,
        "cpu.expert_gb_s.mxfp4": 50, "contention.cpu": pytest.approx(0.88),
        "contention.host_link": pytest.approx(0.95),
    }  # fmt: skip
    assert "measured 2026-09-21" in found.findings.hardware["host_link.gb_s"].source


@pytest.mark.parametrize("own", [True, False])
def test_bigmoeonedge_s_metrics_are_read(tmp_path: Path, own: bool) -> None:
    found = sources.read(metrics_file(tmp_path / "phone.metrics", own)).findings
    assert found.hardware["storage.gb_s"].value == pytest.approx(2.0)
    assert found.hardware["storage.gb_s"].uncertainty >= 0.25
    own_work = {path: one.value for path, one in found.runtime.items()}
    expected = {"miss.us_per_mib": pytest.approx(50), "step_us": pytest.approx(2000)}
    assert own_work == (expected if own else {})


def timing_record(folder: Path, prefill_tokens: int = 64, experts_us: float = 4000.0) -> Path:
    """Two layers of MODEL; a launch of 5 µs, so that its tiny layers are all launches."""
    folder.mkdir()
    small_trace(folder / "part-00000.parquet")
    rows = []
    for step in range(10):
        long = step < 2  # the first is as slow as what happens once makes it
        for layer in range(2):
            rows.append({
                "prefill": int(long), "requests": 1, "tokens": prefill_tokens if long else 1,
                "context": prefill_tokens + step, "layer": layer, "gate_us": 50.0,
                "attention_us": 200.0, "experts_us": (90000.0, experts_us)[step] if long else 400.0,
            })  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "timing-00000.parquet")
    return folder


def test_a_timing_record_is_read(tmp_path: Path) -> None:
    folder = timing_record(tmp_path / "t")
    for path in (folder, folder / "timing-00000.parquet"):
        found = sources.read(path).findings.hardware
        assert found["compute.eager_launch_us"].value == pytest.approx(5)
        # 64 tokens to 2 of 8 experts are 16 each: 6 · 256 · 512 · 2 · 64 operations in 4 ms.
        assert found["compute.tflops.bf16"].value == pytest.approx(
            6 * 256 * 1024 * 64 / 4e9, rel=1e-3
        )
        assert "compute.memory_gb_s" not in found  # launches explain what attention takes


def test_no_rate_is_taken_from_launches_or_from_the_first_pass(tmp_path: Path) -> None:
    """80 launches of 5 µs: 700 µs are no more than twice that."""
    folder = timing_record(tmp_path / "t", experts_us=700.0)
    assert set(sources.read(folder).findings.hardware) == {"compute.eager_launch_us"}
    out = tmp_path / "x.yaml"
    done = run_cli("hardware", "calibrate", "-o", out, "--from", folder)
    assert done.code == 0, done.err
    like = load_profile(out).compute.memory_gib
    assert "1 of " in done.err
    assert "figures of the machine were measured; the rest is taken from " in done.err
    assert f", as nothing tells which is near, with its {like.value:g} GiB of memory" in done.err


def changed(folder: Path, column: str, values: list[float]) -> Path:
    """``folder``, with other times in a column of decode passes, over and over."""
    path = folder / "timing-00000.parquet"
    frame = pd.read_parquet(path)
    decode = frame["prefill"] == 0
    frame.loc[decode, column] = np.resize(values, decode.sum())
    frame.to_parquet(path)
    return folder


def test_no_rate_is_taken_of_what_other_work_has_slowed(tmp_path: Path) -> None:
    """Attention beyond twice its launches is a rate, unless repeats differ by as much."""
    steady = changed(timing_record(tmp_path / "a"), "attention_us", [2000.0])
    assert "compute.memory_gb_s" in sources.read(steady).findings.hardware
    out = tmp_path / "x.yaml"
    done = run_cli("hardware", "calibrate", "-o", out, "--from", steady)
    assert re.search(r"compute.memory_gb_s .* measured, at least", done.out), done.out
    unsteady = changed(timing_record(tmp_path / "b"), "attention_us", [400.0, 2000.0, 90000.0])
    found = sources.read(unsteady).findings.hardware
    assert set(found) == {"compute.eager_launch_us", "compute.tflops.bf16"}
    gates = changed(timing_record(tmp_path / "c"), "gate_us", [48.0, 185.0, 43000.0])
    with pytest.raises(ConfigError, match=r"gates took from 48 to 43,000 µs .*: something else"):
        sources.read(gates)


BROKEN = {
    "none.json": (None, "no such file"),
    "list.json": ("[1]", "none of the formats that are known: the JSON of gpu_probe.py;"),
    "cut.json": ('{"link": {', "not valid JSON"),
    "other.json": ('{"a": 1}', "FreeToken's benchbw.json"),
    "empty.json": ("", "none of the formats"),
    "probe.json": ('{"machine": {}, "link": 3}', "link: expected a mapping"),
    "failed.json": ('{"machine": {}, "link": {"error": "x"}}', "nothing was measured"),
    "rates.json": (
        '{"dtype_kernels": {"bf16": {"cpu_moe_gbs": "fast"}}}',
        "dtype_kernels.bf16.cpu",
    ),
    "no-rates.json": ('{"ceilings": {}}', "no rate that a profile has a place for"),
    "short.metrics": ("step,wall_ms,io_ms,read_bytes\n1,2,3,4\n", "1 steps are too few"),
    "text.metrics": ("step,wall_ms,io_ms,read_bytes\n" + "1,2,x,4\n" * 9, "io_ms: not a number"),
    "no.parquet": (None, "no such file"),
    "not.parquet": ("PAR1 or not", "not Parquet"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line(name: str, tmp_path: Path) -> None:
    content, message = BROKEN[name]
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    done = run_cli("hardware", "calibrate", "-o", tmp_path / "x.yaml", "--from", path)
    assert_one_line(done, f"error: --from: {path}: ")
    assert message in done.err
    assert not (tmp_path / "x.yaml").exists()


# The command


def assert_one_line(done: Ended, beginning: str) -> None:
    assert done.code == 2
    assert done.err.startswith(beginning), done.err
    assert done.err.count("\n") == 1


def test_what_others_measured_becomes_profiles_that_load(tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    done = run_cli("hardware", "calibrate", "-o", out, "--from", PROBE)
    assert done.code == 0, done.err
    assert "figure" in done.out
    assert "measured too" in done.out
    for name in ("both", "mine.copies.yaml", "mine.runtime.yaml"):
        assert re.search(rf" {name} *\n", done.out), name
    one, two = load_profile(out), load_profile(tmp_path / "mine.copies.yaml")
    assert (one.unified_memory, two.unified_memory) == (True, False)
    assert one.compute.memory_gb_s == two.compute.memory_gb_s
    runtime = load_runtime(tmp_path / "mine.runtime.yaml")
    assert runtime.routing_us.kind == "measured"
    again = run_cli("hardware", "calibrate", "-o", out, "--from", PROBE)
    assert_one_line(again, f"error: --out: {out} exists already")
    assert run_cli("hardware", "calibrate", "-o", out, "--from", PROBE, "--force").code == 0
    assert sorted(os.listdir(tmp_path)) == ["mine.copies.yaml", "mine.runtime.yaml", "mine.yaml"]


def test_what_is_wrong_with_the_output_is_said_first(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name, message in {
        "pipe.yaml": "is no regular file",
        "folder.yaml": "is a folder",
        "no/x.yaml": "is no folder",
        "x.json": "has to end in .yaml",
    }.items():
        done = run_cli("hardware", "calibrate", "-o", tmp_path / name, "--from", PROBE)
        assert_one_line(done, "error: --out: ")
        assert message in done.err
    done = run_cli("hardware", "calibrate", "-o", tmp_path / "x.yaml", "--from", PROBE, "--quick")
    assert_one_line(done, "error: --quick has no place beside --from")


# Measuring, which needs torch


class StandIn:
    """torch.cuda's streams and graphs, on a CPU: what is captured is kept and done again."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.capturing: list[object] | None = None

    def Stream(self) -> str:  # noqa: N802
        return "side"

    @contextmanager
    def stream(self, which: str) -> Iterator[None]:
        self.log.append(f"on {which}")
        yield

    def synchronize(self) -> None:
        self.log.append("synchronize")

    def CUDAGraph(self) -> Any:  # noqa: N802
        return SimpleNamespace(replay=lambda: self.log.append("replay"))

    @contextmanager
    def graph(self, _: object) -> Iterator[None]:
        self.log.append("capture")
        yield


def test_a_graph_is_warmed_up_beside_and_captured_once() -> None:
    benches = pytest.importorskip("prefetch_sim.sim.calibration.measuring.benches")
    cuda, done = StandIn(), []
    replay = benches.capturing(cuda)(lambda: done.append(len(cuda.log)))
    replay()
    replay()
    assert cuda.log == ["on side", "synchronize", "capture", "replay", "replay"]
    assert done == [1, 1, 1, 3]  # three before it is captured, on the side stream


def test_memory_of_a_gpu_is_asked_for_where_it_is_needed() -> None:
    benches = pytest.importorskip("prefetch_sim.sim.calibration.measuring.benches")
    asked: list[dict[str, object]] = []
    memory = benches.on_gpu(SimpleNamespace(ones=lambda n, dtype, **where: asked.append(where)))
    for place in ("device", "pinned", "pageable"):
        memory(4096, place)
    assert asked == [{"device": "cuda"}, {"pin_memory": True}, {"pin_memory": False}]


def test_what_is_measured_of_two_memories() -> None:
    """On threads that stand in for streams: pageable copies, graphs, and traffic both ways."""
    pytest.importorskip("torch", reason="measuring needs torch")
    from prefetch_sim.sim.calibration.measuring import benches, plan
    from prefetch_sim.sim.calibration.measuring import link as copies
    from prefetch_sim.sim.calibration.measuring import operators as products

    with benches.host_bench() as bench:
        bench.two_memories = True
        bench.captured = lambda work: work
        times = copies.measure(bench, [4096, 65536], 3, 2**20, lambda: None)
        sizes = plan.QUICK.sizes._replace(pool=2**20, repeats=2)
        found = list(products.measure(bench, operators.TINY, sizes, bench.captured))
        alone = products.launches(bench, 3)
    tables = vars(times)
    assert all(list(table) == [4096, 65536] for table in tables.values()), tables
    assert alone.captured is not None
    names = [(op.name, op.size) for op in found]
    assert names == [
        ("norm", 1), ("attention", 16), ("attention", 256), ("gate", 1),
        ("expert", 1), ("expert", 16), ("combine", 1),
    ]  # fmt: skip
    assert all(op.us.median > 0 for op in found)


def test_a_gpu_is_measured_from_end_to_end_on_threads_that_stand_in_for_its_streams(
    tmp_path: Path, monkeypatch: Any
) -> None:
    torch = pytest.importorskip("torch", reason="measuring needs torch")
    from prefetch_sim.sim.calibration.measuring import benches, calibrate, plan

    asked: set[str] = set()

    @contextmanager
    def cuda_bench() -> Iterator[Any]:
        with benches.host_bench() as bench:
            plain = bench.memory
            bench.dtype, bench.two_memories = torch.bfloat16, True
            bench.captured = lambda work: work
            bench.memory = lambda nbytes, place: (asked.add(place), plain(nbytes, place))[1]
            yield bench

    gpu = SimpleNamespace(name="NVIDIA Fake", total_memory=80 * 2**30)
    monkeypatch.setattr(benches, "cuda_bench", cuda_bench)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    done = calibrate.measure("cuda", None, plan.QUICK._replace(pool=8 * 2**20))
    assert asked == {"device", "pinned", "pageable"}
    made = profiles("mine", done.machine.name, done.findings, unified=False)
    (profile,) = (draft.profile for draft in made.machines.values())
    assert profile.compute.memory_gib.value == 80
    assert profile.host_link is not None
    assert profile.host_link.gb_s.source.startswith("measured 20")
    assert "on NVIDIA Fake" in profile.host_link.gb_s.source
    assert profile.storage.gb_s.kind == "estimate"  # no folder was given
    said = [note.what for note in made.notes]
    assert any("pageable" in what for what in said)
    assert any(what.endswith("expert, eager") for what in said)


def test_an_engine_that_fails_ends_what_is_measured() -> None:
    pytest.importorskip("torch", reason="measuring needs torch")
    from prefetch_sim.sim.calibration.measuring import benches
    from prefetch_sim.sim.replay.device import ReplayError

    def fails() -> None:
        raise RuntimeError("out of memory")

    with benches.host_bench() as bench, pytest.raises(ReplayError, match="out of memory"):
        bench.timed(fails, 1)


def test_a_quick_run_on_this_cpu_gives_profiles_that_load_and_simulate(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="measuring needs torch")
    drive = tmp_path / "drive"
    drive.mkdir()
    out = tmp_path / "here.yaml"
    done = run_cli("hardware", "calibrate", "-o", out, "--quick", "--device", "cpu",
                   "--storage", drive)  # fmt: skip
    if "O_DIRECT" in done.err:
        pytest.skip("this file system has no reads past the page cache")
    assert done.code == 0, done.err
    assert not list(drive.iterdir())
    runtime = load_runtime(tmp_path / "here.runtime.yaml")
    small_trace(tmp_path / "trace.parquet")
    for name in ("here", "here.copies"):
        profile = load_profile(tmp_path / f"{name}.yaml")
        guessed = {path for path, one in profile.flat().items() if one.kind != "measured"}
        assert guessed <= {"compute.tflops.fp8", "compute.tflops.int4", "compute.tflops.mxfp4"}
        config = write_config(
            tmp_path / "c.yaml",
            trace=str(tmp_path / "trace.parquet"),
            hardware=str(tmp_path / f"{name}.yaml"),
            runtime=str(tmp_path / "here.runtime.yaml"),
        )
        ran = run_cli("run", config, "--json")
        assert ran.code == 0, ran.err
    own = {path for path, one in runtime.flat().items() if one.kind == "measured"}
    assert {"step_us", "layer_us", "routing_us", "miss.us", "load.read_us"} <= own


def test_what_cannot_be_measured_is_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    torch = pytest.importorskip("torch", reason="measuring needs torch")
    out = tmp_path / "x.yaml"

    def calibrate(*more: object) -> Ended:
        return run_cli("hardware", "calibrate", "-o", out, "--quick", *more)

    if not torch.cuda.is_available():
        assert_one_line(calibrate("--device", "cuda"), "error: --device cuda: torch finds no CUDA")
    done = calibrate("--device", "cpu", "--storage", tmp_path / "no")
    assert_one_line(done, f"error: --storage: {tmp_path / 'no'}: no such folder")
    done = calibrate("--device", "cpu", "--model", "qwen3-30b")
    assert_one_line(done, "error: unknown model 'qwen3-30b'; did you mean")
    real = os.open

    def refuses(error: int) -> Any:
        def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if flags & os.O_DIRECT:
                raise OSError(error, os.strerror(error))
            return real(path, flags, *more, **named)

        return opened

    for error, message in (
        (errno.EINVAL, "its file system has no reads past the page cache (O_DIRECT)"),
        (errno.EACCES, "cannot be written to"),
        (errno.ENOSPC, "No space left on device"),
    ):
        monkeypatch.setattr(os, "open", refuses(error))
        done = calibrate("--device", "cpu", "--storage", tmp_path)
        assert_one_line(done, f"error: --storage: {tmp_path}: {message}")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert_one_line(calibrate(), "error: needs torch: pip install")


@pytest.mark.parametrize("what", ["ReplayError", "MemoryError", "RuntimeError"])
def test_a_measurement_that_fails_is_one_line(tmp_path: Path, monkeypatch: Any, what: str) -> None:
    pytest.importorskip("torch", reason="measuring needs torch")
    from prefetch_sim.sim.calibration.measuring import readback
    from prefetch_sim.sim.replay.device import ReplayError

    kind = {"ReplayError": ReplayError, "MemoryError": MemoryError, "RuntimeError": RuntimeError}

    def fails(*_: object) -> None:
        raise kind[what]("CUDA error: out of memory\nCUDA kernel errors might be ...")

    monkeypatch.setattr(readback, "measure", fails)
    done = run_cli("hardware", "calibrate", "-o", tmp_path / "x.yaml", "--quick", "--device", "cpu")
    assert_one_line(done, "error: --device cpu: CUDA error: out of memory")
    assert not list(tmp_path.iterdir())


def test_what_a_replay_takes_beyond_a_simulation_is_found_again(tmp_path: Path) -> None:
    """The replay is a simulation of a runtime whose costs are known."""
    pytest.importorskip("torch", reason="measuring needs torch")
    from prefetch_sim.sim.calibration.measuring import runtime
    from prefetch_sim.sim.run import simulate
    from prefetch_sim.sim.setup.inputs import Inputs

    costs = {"routing_us": 26.0, "step_us": 300.0, "load.issue_us": 70.0, "miss.us": 40.0}
    real = override(load_runtime("ideal"), costs)
    machines = {
        name: load_profile(like)
        for name, like in (("link", "rtx-3090"), ("disk", "jetson-orin-nano-8gb"))
    }
    machines["disk"] = override(
        machines["disk"], {"storage.queue_depth": 1, "storage.read_mib": 16}
    )
    rates = ("storage.gb_s", "storage.stream_gb_s")
    drive = 0.7 * machines["disk"].storage.gb_s.value
    folders, left = set(), {True: 0.8, False: 0.6}  # by whether there is one memory

    def replay(inputs: Inputs, folder: Path) -> Any:
        folders.add(folder)
        figures = {
            "compute.memory_gb_s": 0.6 * inputs.profile.compute.memory_gb_s.value,
            "compute.expert_efficiency": 0.5,
        }
        known = inputs.profile.compute.expert_efficiency.value
        profile = (
            inputs.profile
            if known == pytest.approx(0.5, rel=0.1)
            else override(inputs.profile, figures)
        )
        if profile.unified_memory:
            profile = override(profile, dict.fromkeys(rates, drive))
        profile = override(profile, {"compute.beside_loads": left[profile.unified_memory]})
        return simulate(replace(inputs, runtime=real, profile=profile))

    all_ = runtime.measure(
        runtime.Runs(replay, simulate), machines, 26.0, STAMP, tmp_path,
        like=runtime.SHAPE, precision="f32", repeats=2, decode=12,
    )  # fmt: skip
    assert all_.hardware["compute.expert_efficiency"].value == pytest.approx(0.5, rel=0.03)
    memory = 0.6 * machines["link"].compute.memory_gb_s.value
    assert all_.hardware["compute.memory_gb_s"].value == pytest.approx(memory, rel=0.03)
    found = all_.runtime
    assert found["step_us"].value == pytest.approx(300, rel=0.1)
    assert found["load.issue_us"].value == pytest.approx(70, rel=0.05)
    for one_memory, figures in ((True, all_.hardware), (False, all_.over_link)):
        beside = figures["compute.beside_loads"].value
        assert beside == pytest.approx(left[one_memory], rel=0.03)
    assert found["load.read_us"].value == 0
    assert found["miss.us"].value == pytest.approx(40, rel=0.03)
    for name in rates:
        assert all_.hardware[name].value == pytest.approx(drive, rel=0.03)
    assert not list(tmp_path.iterdir())
    assert tmp_path in folders
