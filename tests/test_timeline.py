"""A timeline must be what the run was: same spans, same sums, same loads."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_support import BASE, small_trace
from harness import FixedCost, machine, make_trace, system

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse
from prefetch_sim.sim.engine.load import DISPOSITIONS
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.machine.device import SimulatedDevice
from prefetch_sim.sim.results import timeline
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup import inputs
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.traces.format import PredictionInfo

CASES: dict[str, dict[str, Any]] = {
    "demand only": {},
    "hybrid": {"predictor": [{"name": "oracle", "recall": 0.6, "distance": 2}, "guess"]},
    "inline predictor": {
        "predictor": {"name": "oracle", "recall": 0.6, "placement": "inline", "cost_us": 3}
    },
    "from storage": {"host": {"capacity": "30%"}, "predictor": {"name": "oracle", "recall": 0.8}},
    "one memory": {
        "hardware": "snapdragon-8",
        "predictor": "guess",
        "runtime": {"name": "ideal", "overlap": "grouped"},
    },
    "batch": {"batch_size": 3, "predictor": "previous-token"},
}
Events = list[dict[str, Any]]


def case(name: str, folder: Path) -> Inputs:
    small_trace(folder / "small.parquet")
    tree = BASE | {"trace": str(folder / "small.parquet"), "cache": {"capacity": "30%"}}
    return inputs.load(parse(tree | CASES[name], "test"))


@pytest.fixture(params=CASES)
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Events, Simulation]:
    recorder = timeline.Recorder()
    done = simulate(case(request.param, tmp_path), recorder.watch)
    recorder.write(tmp_path / "t.json", done)
    written = json.loads((tmp_path / "t.json").read_text())
    assert [p.name for p in tmp_path.glob("*t.json*")] == ["t.json"]
    return written["traceEvents"], done


def ns(microseconds: float) -> int:
    return round(microseconds * 1000)


def slices(events: Events, pid: int) -> dict[int, list[tuple[int, int, str]]]:
    """(start, end, name) in ns of the slices of each track."""
    tracks: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X" and event["pid"] == pid:
            start = ns(event["ts"])
            tracks[event["tid"]].append((start, start + ns(event["dur"]), event["name"]))
    return tracks


def test_slices_of_a_track_nest(recorded: tuple[Events, Simulation]) -> None:
    events, _ = recorded
    for pid in (timeline.COMPUTE, timeline.LINKS):
        for track in slices(events, pid).values():
            open_until: list[int] = []
            for start, end, name in sorted(track, key=lambda s: (s[0], -s[1])):
                while open_until and open_until[-1] <= start:
                    open_until.pop()
                assert not open_until or end <= open_until[-1], name
                open_until.append(end)


def test_operators_sum_to_the_compute_of_the_run(recorded: tuple[Events, Simulation]) -> None:
    events, done = recorded
    ((_, track),) = slices(events, timeline.COMPUTE).items()
    outer = ("step ", "layer ")
    operators = [(s, e, n) for s, e, n in track if not n.startswith(outer)]
    busy = sum(e - s for s, e, _ in operators)
    assert busy == done.steps.column("compute").sum()
    found = results(done)
    assert busy == ns(found["compute_ms"] * 1000)
    assert sum(n.startswith("step ") for _, _, n in track) == found["steps"]
    assert sum(n.startswith("layer ") for _, _, n in track) == found["layer_steps"]
    last = max(end for _, end, _ in track)
    assert last == ns(found["total_ms"] * 1000)


def test_an_operator_lies_in_the_layer_it_names(recorded: tuple[Events, Simulation]) -> None:
    events, done = recorded
    spans: dict[tuple[int, int], tuple[float, float]] = {}
    operators = []
    steps: list[float] = []
    for event in events:
        if event["ph"] == "X" and event["pid"] == timeline.COMPUTE:
            args, end = event["args"], event["ts"] + event["dur"]
            if event["name"].startswith("layer "):
                spans[args["step"], args["layer"]] = event["ts"], end
            elif "layer" in args:
                operators.append((args["step"], args["layer"], event["ts"], end))
            elif event["name"] == "head":
                assert args["step"] == sum(at < event["ts"] for at in steps) - 1
            else:
                steps.append(event["ts"])
    assert operators
    assert len(spans) == len(done.layers)
    for step, layer, start, end in operators:
        first, last = spans[step, layer]
        assert first <= start <= end <= last + 1e-6


def test_loads_begin_and_end_once_and_say_why(recorded: tuple[Events, Simulation]) -> None:
    events, done = recorded
    begun = {e["id"]: e for e in events if e["ph"] == "b"}
    ended = {e["id"]: e for e in events if e["ph"] == "e"}
    assert begun.keys() == ended.keys()
    assert len(begun) == len(done.loads) > 0
    assert all(begun[i]["ts"] <= ended[i]["ts"] for i in begun)
    ends = Counter(e["args"]["ended"] for e in begun.values())
    for disposition, count in zip(DISPOSITIONS, map(sum, zip(*done.totals.dispositions))):
        # A redundant proposal never became a load.
        assert ends[disposition] == (0 if disposition == "redundant" else count)
    names = {name for name, _, _ in done.inputs.predictors}
    whys = {e["args"]["why"] for e in begun.values()}
    assert whys <= {"demand"} | {f"prefetch: {name}" for name in names}


def test_chunks_begin_and_end_when_their_loads_do(recorded: tuple[Events, Simulation]) -> None:
    events, done = recorded
    width, total = done.inputs.workload.experts, done.steps.column("end")[-1]
    chunks: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X" and event["pid"] == timeline.LINKS:
            start, args = ns(event["ts"]), event["args"]
            expert = args["layer"] * width + args["expert"]
            chunks[expert].append((start, start + ns(event["dur"])))
    counted = 0
    loads = [dict(zip(done.loads.columns, row)) for row in done.loads.table().tolist()]
    assert {load["expert"] for load in loads if load["started"] >= 0} == chunks.keys()
    for load in loads:
        first, last = load["started"], load["landed"]
        if first >= 0:
            until = last if last >= 0 else load["settled"]
            own = [c for c in chunks[load["expert"]] if first <= c[0] < until]
            assert min(own)[0] == first
            assert max(end for _, end in own) == last or (last < 0 and until == total)
            counted += len(own)
    assert counted == sum(map(len, chunks.values()))


def test_a_load_and_its_chunks_say_what_they_were_for() -> None:
    # Experts of four chunks. In the second step layer 1 is predicted as it starts and routed
    # while the first chunk moves: from then on the load is demand.
    nothing, named = [[-1], [-1]], [[-1], [1]]
    info = PredictionInfo(
        trigger="layer_start", distance=0, flops=1.0, bytes=0, description="by hand"
    )
    trace = make_trace(
        [[[0], [0]], [[0], [1]]],
        4,
        sizes=[4 * 2**20] * 2,
        predictions={"p": (info, [nothing, named], [nothing, named])},
    )
    predictors = [("recorded", {"column": "p", "cost_us": 0.0})]
    loaded = system(trace, machine(chunk_mib=1), capacity=2**25, predictors=predictors)
    recorder = timeline.Recorder()
    done = simulate(loaded, recorder.watch, FixedCost(2))  # type: ignore[arg-type]
    events = list(recorder.events(done))
    keys = ("why", "layer", "expert", "for_step", "for_layer", "ended")
    assert [tuple(e["args"][key] for key in keys) for e in events if e["ph"] == "b"] == [
        ("demand", 0, 0, 0, 0, "used"),
        ("demand", 1, 0, 0, 1, "used"),
        ("prefetch: recorded", 1, 1, 1, 1, "late"),
    ]
    chunks = [e["name"] for e in events if e["ph"] == "X" and e["pid"] == timeline.LINKS]
    prefetched = ["prefetch L1 E1", *["demand L1 E1"] * 3]
    assert chunks == [*["demand L0 E0"] * 4, *["demand L1 E0"] * 4, *prefetched]


def counter(events: Events, name: str) -> dict[int, float]:
    """MiB by ns, of samples that are in order and each of a time of its own."""
    samples = [e for e in events if e["ph"] == "C" and e["name"] == name]
    times = [ns(e["ts"]) for e in samples]
    assert times == sorted(set(times))
    return {time: e["args"]["MiB"] for time, e in zip(times, samples)}


def steps_of(values: dict[int, int]) -> dict[int, float]:
    """``values`` in MiB, without those that repeat the one before."""
    kept = {t: v for (t, v), last in zip(values.items(), [None, *values.values()]) if v != last}
    return {time: round(nbytes / 2**20, 3) for time, nbytes in kept.items()}


def test_the_loads_pending_are_those_issued_and_not_ended(
    recorded: tuple[Events, Simulation],
) -> None:
    events, done = recorded
    loads = [dict(zip(done.loads.columns, row)) for row in done.loads.table().tolist()]
    spans = [
        (x["issued"], x["landed"] if x["landed"] >= 0 else x["settled"], x["expert"]) for x in loads
    ]
    sizes = [n for n in done.inputs.sizes for _ in range(done.inputs.workload.experts)]
    truth = {
        now: sum(sizes[x] for issued, ended, x in spans if issued <= now < ended)
        for now in sorted({time for issued, ended, _ in spans for time in (issued, ended)})
    }
    found = counter(events, "loads pending, MiB")
    assert found == steps_of(truth)
    assert list(found.values())[-1] == 0


@pytest.mark.parametrize("warm", ["none", "first"])
@pytest.mark.parametrize("name", CASES)
def test_the_cache_held_is_what_it_has_room_for_at_that_time(
    name: str, warm: str, tmp_path: Path
) -> None:
    loaded = case(name, tmp_path)
    cache = loaded.config.cache.model_copy(update={"warm": warm})
    loaded = replace(loaded, config=loaded.config.model_copy(update={"cache": cache}))
    recorder = timeline.Recorder()
    truth: dict[int, int] = {}

    def watch(device: SimulatedDevice, loader: Loader) -> None:
        recorder.watch(device, loader)
        tier = loader.cache
        inside = {x for x, resident in enumerate(tier.resident) if resident}
        reserve, on_evict = tier.reserve, tier.on_evict
        assert on_evict is not None

        def note() -> None:
            truth[device.now] = sum(tier.sizes[x] for x in inside)

        def reserved(x: int) -> bool:
            granted = reserve(x)
            if granted:
                inside.add(x)
                note()
            return granted

        def evicted(x: int) -> None:
            inside.remove(x)
            on_evict(x)

        tier.reserve, tier.on_evict = reserved, evicted  # type: ignore[method-assign]
        note()

    done = simulate(loaded, watch)
    found = counter(list(recorder.events(done)), "cache held, MiB")
    assert found == steps_of(truth)
    assert (found[0] > 0) == (warm == "first")


def test_recording_changes_nothing(recorded: tuple[Events, Simulation]) -> None:
    _, done = recorded
    assert results(simulate(done.inputs)) == results(done)


def test_a_long_run_is_refused_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_trace(tmp_path / "small.parquet")
    loaded = inputs.load(parse(BASE | {"trace": str(tmp_path / "small.parquet")}, "test"))
    timeline.check(loaded.workload, tmp_path / "t.json")
    monkeypatch.setattr(timeline, "MAX_LAYER_STEPS", 27 * 4)  # exactly what it has
    timeline.check(loaded.workload, tmp_path / "t.json")
    monkeypatch.setattr(timeline, "MAX_LAYER_STEPS", 27 * 4 - 1)
    with pytest.raises(ConfigError, match=r"more than 26 steps of 4 layers; choose fewer"):
        timeline.check(loaded.workload, tmp_path / "t.json")


def test_a_timeline_with_nowhere_to_go_is_refused(tmp_path: Path) -> None:
    small_trace(tmp_path / "small.parquet")
    loaded = inputs.load(parse(BASE | {"trace": str(tmp_path / "small.parquet")}, "test"))
    for target in (tmp_path, tmp_path / "missing" / "t.json"):
        with pytest.raises(ConfigError, match="cannot be written"):
            timeline.check(loaded.workload, target)
