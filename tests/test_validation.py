"""A validation: its folder is whole, its arithmetic right, and it goes on where it was stopped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from cli_support import ROOT, run_cli
from jittered import FakeReplay

from prefetch_sim.experiments.documents import fill
from prefetch_sim.experiments.validation import accuracy, machines, report
from prefetch_sim.experiments.validation.runs import compared, order
from prefetch_sim.experiments.validation.study import RUNS, Study
from prefetch_sim.experiments.validation.tables import STATISTICS, TABLES, Tables
from prefetch_sim.experiments.validation.targets import OF_GPUS, TARGETS
from prefetch_sim.hardware_profiles import load_profile
from prefetch_sim.sim.calibration.machine import kept_in_memory
from prefetch_sim.sim.config.errors import ConfigError

PROFILES = ROOT / "hardware_profiles"
RUNTIME = PROFILES / "runtimes" / "ideal.yaml"
MODEL = {
    "name": "small",
    "layers": 3,
    "hidden": 256,
    "experts": 128,
    "top_k": 8,
    "expert_hidden": 64,
    "attention": {"kind": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 64},
    "vocab": 64,
}
CONFIG: dict[str, Any] = {
    "trace": "mini-qwen3-30b-a3b",
    "requests": "0:1",
    "tokens": "32:44",
    "layers": "0:3",
    "model": "small.yaml",
    "precision": "f32",
    "sweep": {
        "hardware": ["disk", "memory"],
        "predictor": ["none", "pre-attention"],
        "cache.capacity": ["30%", "60%"],
    },
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a machine's profiles, a model and a config."""
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(MODEL))
    write(tmp_path)
    for name, source in (("machine", "laptop-ddr4"), ("machine.copies", "rtx-2080")):
        tree = load_profile(source).model_dump(mode="json", exclude_none=True) | {"name": name}
        tree["storage"]["read_mib"]["value"] = 0.125
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "config.yaml"
    tree = {key: value for key, value in (CONFIG | changes).items() if value is not None}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def study(folder: Path, out: str = "out") -> Study:
    machine = machines.given(folder / "machine.yaml", RUNTIME)
    config = folder / "config.yaml"
    made = Study(machines.check_alone(config), config, machine, folder / out, "cpu")
    made.begin()
    return made


def command(folder: Path, *more: object) -> Any:
    return run_cli(
        "validate",
        folder / "config.yaml",
        "--hardware",
        folder / "machine.yaml",
        "--runtime",
        RUNTIME,
        "-o",
        folder / "out",
        *more,
    )


@pytest.fixture
def done(here: Path) -> Tables:
    work = study(here)
    work.measure(3, None, FakeReplay())
    return work.summarise(3)


def test_the_folder_is_whole(here: Path, done: Tables) -> None:
    out = here / "out"
    wanted = {f"{name}.csv" for name in (*TABLES, "machine")}
    wanted |= {"validation.yaml", "predicted.png", "token.png", "profiles", RUNS}
    assert {path.name for path in out.iterdir()} == wanted
    assert {p.name for p in (out / "profiles").iterdir()} == {
        "disk.yaml",
        "memory.yaml",
        "runtime.yaml",
    }
    assert yaml.safe_load((out / "validation.yaml").read_text()) == CONFIG
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    assert size < 500_000
    for name, frame in Tables.read(out)._asdict().items():
        written = getattr(done, name).replace("", np.nan)
        pd.testing.assert_frame_equal(frame, written, check_dtype=False)


def test_every_point_is_measured_as_often_as_asked(done: Tables) -> None:
    assert len(done.simulated) == len(done.points) == 8
    assert len(done.measured) == 24
    assert (done.measured.groupby(["hardware", "predictor", "cache.capacity"]).size() == 3).all()
    for frame in (done.simulated, done.measured):
        for what in ("tpot_ms", "stall_ms"):
            assert frame[[f"{what}.{name}" for name in STATISTICS]].notna().all(axis=None)


def test_decisions_and_outputs_of_a_fake(done: Tables) -> None:
    measured = done.measured
    alone = measured[measured["predictor"] == "none"]
    assert (alone["equal_sets"] == 1).all()
    assert (alone["prefetches"] == False).all()  # noqa: E712
    assert (measured["unexplained"] == 0).all()
    assert (measured["outputs"] == "equal").all()
    summary = done.summary.set_index("what")
    assert summary.loc["without prefetch: equal decisions, % of layer-steps", "holds"] == "yes"
    assert summary.loc["replays whose outputs are the reference's, %", "value"] == 100


def test_it_goes_on_where_it_was(here: Path, done: Tables) -> None:
    work, fake = study(here), FakeReplay()
    work.measure(3, None, fake)
    assert fake.runs == 0
    next((here / "out" / RUNS).glob("*-1.npz")).unlink()
    work.measure(3, None, fake)
    assert fake.runs == 1
    work.measure(4, None, fake)
    assert fake.runs == 9


def test_one_who_stops_keeps_what_is_whole(here: Path) -> None:
    class Stopped(FakeReplay):
        def __call__(self, *given: Any, **named: Any) -> Any:
            if self.runs == 5:
                raise KeyboardInterrupt
            return super().__call__(*given, **named)

    work = study(here)
    with pytest.raises(KeyboardInterrupt):
        work.measure(2, None, Stopped())
    assert len(work.left(2)) == 12  # one of the five was the reference
    work.measure(1, None, FakeReplay())
    work.summarise(1)
    with pytest.raises(KeyboardInterrupt):
        work.measure(2, None, Stopped(share=0.1, runs=5))
    assert not list((here / "out").glob("*.csv"))
    rest = FakeReplay()
    work.measure(2, None, rest)
    assert rest.runs == 8


def test_another_profile_needs_no_new_measurement(here: Path, done: Tables) -> None:
    path = here / "machine.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["compute"]["memory_gb_s"]["value"] /= 2
    path.write_text(yaml.safe_dump(tree))
    work, fake = study(here), FakeReplay()
    work.measure(3, None, fake)
    slower = work.summarise(3)
    assert fake.runs == 0
    disk = done.points["hardware"] == "disk"
    assert (slower.points["simulated_ms"] > done.points["simulated_ms"])[disk].all()
    assert (slower.points["measured_ms"] == done.points["measured_ms"]).all()


def test_a_replay_that_computes_otherwise_is_told(here: Path) -> None:
    class Wrong(FakeReplay):
        def __call__(self, *given: Any, **named: Any) -> Any:
            found = super().__call__(*given, **named)
            found.outputs[7:] += 0.25 if self.runs == 3 else 0
            return found

    work = study(here)
    work.measure(1, None, Wrong())
    tables = work.summarise(1)
    wrong = tables.measured["outputs"] != "equal"
    assert wrong.sum() == 1
    assert tables.measured["outputs"][wrong].item().startswith("differ from layer-step 7 on, by")
    row = tables.summary.set_index("what").loc["replays whose outputs are the reference's, %"]
    assert row["holds"] == "no"


def test_a_damaged_file_is_one_line(here: Path, done: Tables) -> None:
    path = next((here / "out" / RUNS).glob("*-0.npz"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match="not a finished replay; remove it"):
        study(here).summarise(3)


# What a measurement depends on


def keys(folder: Path, **changes: Any) -> list[str]:
    """Of the points of a config with ``changes``."""
    write(folder, **changes)
    return study(folder)._keys


def figure(folder: Path, path: str, value: float | None) -> None:
    """Set a figure of both profiles of the machine."""
    for name in ("machine.yaml", "machine.copies.yaml"):
        tree = yaml.safe_load((folder / name).read_text())
        section, key = path.split(".")
        if section in tree:
            like = tree[section].get(key) or {
                "kind": "estimate",
                "uncertainty": 0.3,
                "source": "made up",
            }
            tree[section][key] = {**like, "value": value}
            (folder / name).write_text(yaml.safe_dump(tree))


def test_a_cache_that_fills_depends_on_what_it_fills(here: Path) -> None:
    fills = {"sweep": {"hardware": ["disk"], "cache.capacity": ["fill"]}}
    before = keys(here, **fills)
    figure(here, "compute.memory_gb_s", 10)
    assert keys(here, **fills) == before
    figure(here, "compute.memory_gib", 0.05)
    assert keys(here, **fills) != before


def test_chunks_of_a_copy_count(here: Path) -> None:
    before = keys(here)
    figure(here, "host_link.chunk_mib", 0.0625)
    after = keys(here)
    same = [one == other for one, other in zip(before, after)]
    assert same == [True] * 4 + [False] * 4  # off a drive, and copied


def test_what_is_told_times_depends_on_them(here: Path) -> None:
    timed = {"prefetch": {"policy": "deadline-aware"}}
    before, plain = keys(here, **timed), keys(here)
    figure(here, "compute.memory_gb_s", 10)
    assert not set(keys(here, **timed)) & set(before)
    assert keys(here) == plain


def test_another_seed_has_outputs_of_its_own(here: Path) -> None:
    work = study(here)
    work.measure(1, None, FakeReplay())
    write(here, seed=3)
    fake = FakeReplay()
    other = study(here)
    other.measure(1, None, fake)
    assert fake.runs == 9  # with the reference
    assert len(list((here / "out" / RUNS).glob("outputs-*.npz"))) == 2


def test_errors_are_of_the_device_whatever_its_profile_is_called(here: Path) -> None:
    class Known(FakeReplay):
        def __call__(self, *given: Any, **named: Any) -> Any:
            found = super().__call__(*given, **named)
            found.machine["processor"] = "Some CPU"
            return found

    work = study(here)
    work.measure(1, None, Known())
    assert work.ran_on() == "Some CPU"


def test_a_calibration_that_is_stopped_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="a replay needs torch")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("prefetch_sim.experiments.commands.calibrate.calibrate", stopped)
    ended = run_cli("validate", here / "config.yaml", "-o", here / "new" / "out")
    assert ended.code == 130
    assert "stopped: a calibration is kept whole or not at all" in ended.err
    assert not (here / "new").exists()


@pytest.mark.parametrize(
    ("policy", "predictor"), [("top-k", "none"), ("deadline-aware", "pre-attention")]
)
def test_a_machine_that_is_not_given_is_calibrated_before_and_after(
    here: Path, monkeypatch: pytest.MonkeyPatch, policy: str, predictor: str
) -> None:
    pytest.importorskip("torch", reason="a replay needs torch")
    found = iter([(40.0, 1), (60.0, 2)])

    def calibrate(file: Path, *_: object) -> None:
        rate, depth = next(found)
        for name in ("machine", "machine.copies"):
            tree = yaml.safe_load((here / f"{name}.yaml").read_text())
            tree["compute"]["memory_gb_s"] |= {"value": rate, "kind": "measured"}
            tree["storage"]["queue_depth"] |= {"value": depth, "kind": "measured"}
            target = file.with_name(f"{name.replace('machine', file.stem)}.yaml")
            target.write_text(yaml.safe_dump(tree))
        file.with_name(f"{file.stem}.runtime.yaml").write_text(RUNTIME.read_text())

    monkeypatch.setattr("prefetch_sim.experiments.commands.calibrate.calibrate", calibrate)
    sweep = {"hardware": ["memory"], "predictor": [predictor], "cache.capacity": ["30%"]}
    write(here, sweep=sweep, prefetch={"policy": policy})  # deadline-aware is told times
    for _ in range(2):  # nothing is measured twice
        ended = run_cli("validate", here / "config.yaml", "--repeats", 1, "-o", here / "out")
        assert ended.code == 0, ended.err
        profile = load_profile(here / "out" / "profiles" / "memory.yaml")
        memory = profile.compute.memory_gb_s
        assert (memory.value, memory.uncertainty) == (50, 0.2)
        assert memory.source.endswith("; before 40, after 60: the mean")
        assert profile.storage.queue_depth.value == 1  # as it was replayed with
        launch, was = profile.compute.launch_us, load_profile("rtx-2080").compute.launch_us
        assert launch == was  # taken from elsewhere


# The arithmetic, by hand


def test_outputs_are_compared_to_the_bit() -> None:
    one = np.array([[0.0, 1.0], [2.0, 4.0]], np.float32)
    assert compared(one, one.copy()) == "equal"
    signed, last = one.copy(), one.copy()
    signed[0, 0], last[1, 1] = -0.0, 5.0
    assert compared(signed, one) == "differ from layer-step 0 on, by 0 at most"
    assert compared(last, one) == "differ from layer-step 1 on, by 0.25 at most"
    assert compared(one[:1], one) == "1 layer-steps, not 2"


def test_repeats_go_there_and_back() -> None:
    points: Any = ["a", "b", "c"]
    assert [p for _, p in order(points, 3)] == list("abccbaabc")
    assert [r for r, _ in order(points, 2)] == [0, 0, 0, 1, 1, 1]


def row(policy: str, tpot: float, **more: Any) -> dict[str, Any]:
    times = {f"{w}_ms.{s}": tpot for w in ("tpot", "stall") for s in STATISTICS}
    rest = {"equal_sets": 1.0, "equal_hits": 1.0, "jaccard": 1.0, "layer_steps": 10}
    named = {"predictor": policy, "prefetches": policy != "none", "outputs": "equal"}
    return {**named, **times, **rest, "unexplained": 0, **more}


def test_errors_spread_and_order_by_hand() -> None:
    times = {"none": (9.0, 10.0, 11.0), "good": (4.0, 5.0, 5.0), "near": (9.5, 9.5, 9.5)}
    measured = [row(p, t, repeat=i) for p, of in times.items() for i, t in enumerate(of)]
    simulated = [row("none", 11.0), row("good", 4.0), row("near", 12.0)]
    found = Tables.of(["predictor"], measured, simulated)
    points = found.points.set_index("predictor")
    assert points["measured_ms"].to_dict() == {"none": 10, "good": 5, "near": 9.5}
    assert points["spread"].to_dict() == {"none": 0.1, "good": 0.1, "near": 0}
    assert points.loc["none", "error.tpot_ms.mean"] == pytest.approx(0.1)
    assert points.loc["good", "error.tpot_ms.mean"] == pytest.approx(-0.2)
    (order,) = found.order.to_dict("records")
    # near is now slower than none and now faster, so these two are no pair.
    assert (order["pairs"], order["pairs_that_differ"], order["in_order"]) == (3, 2, 2)
    assert order["tau_of_all"] == pytest.approx(1 / 3, abs=1e-6)
    summary = found.summary.set_index("what")
    assert summary.loc["Kendall tau of the pairs that differ", "value"] == 1
    assert summary.loc["pairs of policies that differ", "holds"] == "not applicable (3 pairs)"
    assert summary.loc["spread of repeats, median of points, %", "holds"] == "no"
    assert summary.loc["error of mean TPOT, median of points, %", "value"] == 20


@pytest.mark.parametrize(
    ("good", "differ"),
    [
        ((8.0, 18.0, 28.0), 1),  # faster by 2 each time, whatever the hour does to both
        ((8.2, 18.0, 27.8), 1),  # by 2, give or take 0.2: t = 17, p = 0.003
        ((9.0, 18.0, 27.0), 0),  # give or take 1: t = 3.5, p = 0.07
        ((10.0, 20.0, 30.0), 0),
    ],
)
def test_what_drifts_is_in_both_of_a_pair(good: tuple[float, ...], differ: int) -> None:
    both = {"none": (10.0, 20.0, 30.0), "good": good}
    rows = [row(p, t, repeat=i) for p, of in both.items() for i, t in enumerate(of)]
    found = Tables.of(["predictor"], rows, [row("none", 2.0), row("good", 1.0)], OF_GPUS)
    assert found.order["pairs_that_differ"].item() == differ
    summary = found.summary.set_index("what")
    assert summary.loc["error of mean TPOT, p95 of points, %", "target"] == "<= 10"


@pytest.mark.parametrize("run", report.committed(), ids=lambda run: run.name)
def test_committed_tables_follow_from_what_was_measured(run: Any) -> None:
    labels = list(run.tables.simulated.columns)
    labels = labels[: labels.index("tpot_ms.mean")]
    real, ours = (
        getattr(run.tables, name).to_dict("records") for name in ("measured", "simulated")
    )
    targets = OF_GPUS if "gpu" in run.machine else TARGETS
    again = Tables.of(labels, real, ours, targets)
    for name in ("points", "policies", "order", "summary"):
        there = getattr(run.tables, name)
        there = there.fillna({c: "" for c in ("target", "holds") if c in there})
        pd.testing.assert_frame_equal(getattr(again, name), there, check_dtype=False, atol=2e-6)


def test_one_run_has_no_spread_and_no_order() -> None:
    rows = [row("none", 10.0, repeat=0), row("good", 5.0, repeat=0)]
    found = Tables.of(["predictor"], rows, rows)
    assert found.points["spread"].isna().all()
    assert found.order["pairs_that_differ"].item() == 0
    summary = found.summary.set_index("what")
    for what, why in (
        ("spread of repeats, median of points, %", "1 repeat"),
        ("Kendall tau of the pairs that differ", "0 pairs differ"),
    ):
        assert np.isnan(summary.loc[what, "value"])
        assert summary.loc[what, "holds"] == f"not applicable ({why})"
    assert summary.loc["pairs of policies that differ", "holds"] == "not applicable (1 pair)"
    tau = summary.loc["Kendall tau of all policies, least of a place"]
    assert (tau["value"], tau["holds"]) == (1, "0 of 1 pair differ")


def frame(**errors: float) -> pd.DataFrame:
    rows = [("here", "small", what, value) for what, value in errors.items()]
    return pd.DataFrame(rows, columns=[*accuracy.KEY, "value"])


def test_an_alarm_is_two_points_and_a_tenth() -> None:
    kept = frame(small=5.0, large=40.0, grown=10.0, better=9.0)
    now = frame(small=6.9, large=43.0, grown=12.1, better=1.0, new=99.0)
    assert accuracy.difference(now, kept) == [
        "small: 6.9, was 5.0 (+1.9)",
        "large: 43.0, was 40.0 (+3.0)",
        "alarm: grown: 12.1, was 10.0 (+2.1)",
        "better: 1.0, was 9.0 (-8.0)",
    ]


def test_another_machine_has_no_earlier_run(tmp_path: Path, done: Tables) -> None:
    errors = accuracy.errors("here", "small", done)
    assert len(errors) == 16
    path = tmp_path / "accuracy.csv"
    assert "no errors of an earlier run" in accuracy.told(errors, path)[0]
    assert str(path) not in accuracy.told(errors, path)[0]
    errors.assign(device="there").to_csv(path, index=False)
    assert accuracy.told(errors, path) == [
        "no earlier run of this machine and model to hold these errors against"
    ]
    errors.to_csv(path, index=False)
    assert len(accuracy.told(errors, path)) == len(errors.dropna())


# The page


def test_the_page_has_a_place_for_every_table(tmp_path: Path, here: Path, done: Tables) -> None:
    (tmp_path / "runs" / "device").mkdir(parents=True)
    (here / "out").rename(tmp_path / "runs" / "device" / "small")
    found = report.committed(tmp_path / "runs")
    assert [one.name for one in found] == ["device/small"]
    shown = report.tables(found)
    page = fill((ROOT / "docs" / "validation.md").read_text(encoding="utf-8"), shown)
    assert "equal in 100.0 % of layer-steps" in page
    assert page.count("device/small") > 10
    assert "nan" not in page


@pytest.mark.parametrize(("page", "docs"), [("docs/validation.md", ""), ("README.md", "docs/")])
def test_the_committed_pages_are_those_of_the_committed_runs(page: str, docs: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert report.filled(text, report.tables(report.committed()), docs) == text


# The command


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sweep": {"hardware": ["l4"]}}, "hardware: 'l4'; a validation is of the machine"),
        ({"sweep": {"predictor": ["none"]}}, "hardware: say disk, memory, or both under sweep"),
        ({"runtime": "imp"}, "runtime: is the replay's own"),
        ({"requsts": "0:1"}, "unknown key 'requsts'"),
        ({"layers": "0:99"}, "layers: '0:99' ends past the trace's 48 MoE layers"),
        ({"layers": "0:4"}, "small routes 3 MoE layers"),
        ({"sweep": [{"hardware": ["disk"]}]}, "sweep: a validation has one mapping"),
    ],
)
def test_a_wrong_config_is_one_line_and_no_folder(
    here: Path, changes: dict[str, Any], said: str
) -> None:
    pytest.importorskip("torch", reason="a replay needs torch")
    write(here, **changes)
    ended = command(here)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not (here / "out").exists()


def test_profiles_go_together(here: Path) -> None:
    pytest.importorskip("torch", reason="a replay needs torch")
    ended = run_cli("validate", here / "config.yaml", "--hardware", here / "machine.yaml")
    assert ended.code == 2
    assert "--hardware and --runtime go together" in ended.err


def test_a_machine_without_copies_has_no_memory(here: Path) -> None:
    (here / "machine.copies.yaml").unlink()
    with pytest.raises(ConfigError, match="no profile of machine for memory, only for disk"):
        study(here)


def test_a_small_validation_for_real(here: Path) -> None:
    """Decisions and outputs are asserted; errors are kept with the run, and only told."""
    pytest.importorskip("torch", reason="a replay needs torch")
    (here / "store").mkdir()
    ended = command(here, "--storage", here / "store", "--repeats", 2)
    if ended.code == 2 and "O_DIRECT" in ended.err:
        pytest.skip(ended.err)
    assert ended.code == 0, ended.err
    for heading in ("measured, ms", "simulated, ms"):
        assert heading in ended.out
    tables = Tables.read(here / "out")
    alone = tables.measured[tables.measured["predictor"] == "none"]
    assert (alone["equal_sets"] == 1).all()
    assert (alone["equal_hits"] == 1).all()
    assert (tables.measured["unexplained"] == 0).all()
    assert (tables.measured["outputs"] == "equal").all()
    errors = accuracy.errors("here", "small", tables)
    print(errors.to_string())
    errors.to_csv(here / "errors.csv", index=False)
    assert len(errors) == 16


def test_replay_for_real(here: Path) -> None:
    pytest.importorskip("torch", reason="a replay needs torch")
    tree = {key: value for key, value in CONFIG.items() if key not in ("sweep", "model")}
    tree |= {"hardware": str(here / "machine.copies.yaml"), "model": str(here / "small.yaml")}
    (here / "one.yaml").write_text(yaml.safe_dump(tree))
    line = here / "line.json"
    ended = run_cli("replay", here / "one.yaml", "--device", "cpu", "--timeline", line)
    assert ended.code == 0, ended.err
    assert "per output token" in ended.out
    assert "can be faster than" not in ended.out
    (told,) = (line for line in ended.err.splitlines() if line.startswith("measured: "))
    facts = r", python 3.*, torch \d.*, [\d,]+ experts in [\d.]+ .iB of host memory$"
    assert re.search(facts, told), told
    assert line.stat().st_size > 10_000


def test_a_replay_off_a_drive_needs_a_folder(here: Path) -> None:
    pytest.importorskip("torch", reason="a replay needs torch")
    tree = {key: value for key, value in CONFIG.items() if key not in ("sweep", "model")}
    tree |= {"hardware": str(here / "machine.yaml"), "model": str(here / "small.yaml")}
    (here / "one.yaml").write_text(yaml.safe_dump(tree))
    ended = run_cli("replay", here / "one.yaml", "--device", "cpu")
    assert (ended.code, ended.out) == (2, "")
    assert "--storage" in ended.err
    no = here / "nosuch"
    for ended in (
        run_cli("replay", here / "one.yaml", "--device", "cpu", "--storage", no),
        command(here, "--storage", no),
    ):
        assert (ended.code, ended.err) == (2, f"error: --storage: {no}: no such folder\n")
    assert not no.exists()
    assert not (here / "out").exists()


def test_a_replay_says_where_it_ran_and_what_it_leaves(here: Path) -> None:
    pytest.importorskip("torch", reason="a replay needs torch")
    tree = {key: value for key, value in CONFIG.items() if key not in ("sweep", "model")}
    tree |= {"hardware": str(here / "machine.yaml"), "model": str(here / "small.yaml")}
    (here / "one.yaml").write_text(yaml.safe_dump(tree))
    ended = run_cli("replay", here / "one.yaml", "--device", "cpu", "--storage", here)
    if ended.code == 2 and "O_DIRECT" in ended.err:
        pytest.skip(ended.err)
    assert ended.code == 0, ended.err
    assert "small measured on " in ended.out
    assert ", with the tiers of machine, runtime " in ended.out
    assert "note: machine was not calibrated here: " in ended.err
    (left,) = here.glob("experts-*.bin")
    assert f"left: {left}, " in ended.err


def test_what_is_in_memory_is_told_from_a_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = f"/dev/a / ext4 rw 0 0\nnone {tmp_path.resolve()} tmpfs rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: table)
    assert kept_in_memory(tmp_path / "below") == "tmpfs"
    assert kept_in_memory(tmp_path.parent) == ""
