"""A timeline must be what the run was: same spans, same sums, same loads."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from cli_support import BASE, small_trace

from sim import inputs, timeline
from sim.config_file import parse
from sim.errors import ConfigError
from sim.loads import DISPOSITIONS
from sim.run import Simulation, results, simulate

CASES: dict[str, dict[str, Any]] = {
    "demand only": {},
    "hybrid": {"predictor": [{"name": "oracle", "recall": 0.6, "distance": 2}, "guess"]},
    "inline predictor": {
        "predictor": {"name": "oracle", "recall": 0.6, "placement": "inline", "cost_us": 3}
    },
    "from storage": {"host": {"capacity": "30%"}, "predictor": {"name": "oracle", "recall": 0.8}},
    "one memory": {"hardware": "snapdragon-8", "predictor": "guess", "overlap": "grouped"},
    "batch": {"batch_size": 3, "predictor": "previous-token"},
}
Events = list[dict[str, Any]]


@pytest.fixture(params=CASES)
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Events, Simulation]:
    small_trace(tmp_path / "small.parquet")
    tree = BASE | {"trace": str(tmp_path / "small.parquet"), "cache": {"capacity": "30%"}}
    recorder = timeline.Recorder()
    done = simulate(inputs.load(parse(tree | CASES[request.param], "test")), recorder.watch)
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
    assert sum(e - s for s, e, _ in operators) == done.device.busy_ns
    found = results(done)
    assert done.device.busy_ns == ns(found["compute_ms"] * 1000)
    assert sum(n.startswith("step ") for _, _, n in track) == found["steps"]
    assert sum(n.startswith("layer ") for _, _, n in track) == found["layer_steps"]
    last = max(end for _, end, _ in track)
    assert last == ns(found["total_ms"] * 1000)


def test_an_operator_lies_in_the_layer_it_names(recorded: tuple[Events, Simulation]) -> None:
    events, _ = recorded
    spans: dict[tuple[int, int], tuple[float, float]] = {}
    operators = []
    for event in events:
        if event["ph"] == "X" and event["pid"] == timeline.COMPUTE:
            args, end = event["args"], event["ts"] + event["dur"]
            if event["name"].startswith("layer "):
                spans[args["step"], args["layer"]] = event["ts"], end
            elif "layer" in args:
                operators.append((args["step"], args["layer"], event["ts"], end))
    assert operators
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
    for disposition, count in zip(DISPOSITIONS, done.loader.counts):
        # A redundant proposal never became a load.
        assert ends[disposition] == (0 if disposition == "redundant" else count)
    names = {name for name, _, _ in done.inputs.predictors}
    whys = {e["args"]["why"] for e in begun.values()}
    assert whys <= {"demand"} | {f"prefetch: {name}" for name in names}


def test_chunks_take_the_time_that_the_links_were_busy(
    recorded: tuple[Events, Simulation],
) -> None:
    events, done = recorded
    titles = {
        e["tid"]: e["args"]["name"]
        for e in events
        if e["name"] == "thread_name" and e["pid"] == timeline.LINKS
    }
    busy: Counter[str] = Counter()
    for track, found in slices(events, timeline.LINKS).items():
        busy[titles[track].split()[0]] += sum(end - start for start, end, _ in found)
    assert busy == Counter({server.name: server.busy_ns for server in done.loader.stages})


def test_counters_stay_within_the_cache(recorded: tuple[Events, Simulation]) -> None:
    events, done = recorded
    held = [e["args"]["MiB"] for e in events if e["ph"] == "C" and e["name"].startswith("cache")]
    assert len(held) > 1
    assert 0 <= min(held) < max(held) <= sum(done.loader.cache.capacities) / 2**20 + 0.001


def test_recording_changes_nothing(recorded: tuple[Events, Simulation]) -> None:
    _, done = recorded
    assert results(simulate(done.inputs)) == results(done)


def test_a_long_run_is_refused_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_trace(tmp_path / "small.parquet")
    loaded = inputs.load(parse(BASE | {"trace": str(tmp_path / "small.parquet")}, "test"))
    timeline.check(loaded.workload, tmp_path / "t.json")
    monkeypatch.setattr(timeline, "MAX_STEPS", 26)  # it has 27
    with pytest.raises(ConfigError, match=r"more than 26 steps; choose fewer requests"):
        timeline.check(loaded.workload, tmp_path / "t.json")


def test_a_timeline_with_nowhere_to_go_is_refused(tmp_path: Path) -> None:
    small_trace(tmp_path / "small.parquet")
    loaded = inputs.load(parse(BASE | {"trace": str(tmp_path / "small.parquet")}, "test"))
    for target in (tmp_path, tmp_path / "missing" / "t.json"):
        with pytest.raises(ConfigError, match="cannot be written"):
            timeline.check(loaded.workload, target)
