"""Static experts: in the cache from the start, never out of it, and unknown to the eviction.

Times are worked out by hand in all three readings: as in ``test_rules_of_loads``, an expert is 100
bytes, the link moves 1 byte a ns, attention takes 100, the gate 10 and one expert 50.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agreement import compare, differences, uncompiled
from by_hand import end, ends, recorded, saying, started
from cli_support import MODEL, here, small_trace, write_config
from harness import FixedCost, machine, make_trace, run_system, system
from hypothesis import given
from hypothesis import strategies as st
from least import beaten
from readings import READINGS, read
from strained import strained
from test_config import refused, refused_inputs
from test_properties import Small, smalls

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse, set_path
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.engine.load import DISPOSITIONS
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup import capacities, tiers
from prefetch_sim.sim.setup.inputs import Inputs, load

MIB = 2**20
three = pytest.mark.parametrize("by", READINGS)


def loaded(said: dict[str, Any]) -> list[int]:
    """Whom loads brought, in order."""
    return [x for at, x in sorted((t, x) for x, ts in started(said).items() for t in ts)]


# Exact systems


@three
def test_a_static_expert_hits_and_never_leaves(by: str) -> None:
    # Room for one beside 0. Under LRU with room for two, 2 would have put out 1 and 1 then 0.
    trace = make_trace([[[1]], [[2]], [[0]], [[1]], [[0]]], 3, sizes=[100])
    inputs = system(trace, machine(), capacity=200, static=[0])
    said = read(by, inputs, FixedCost(1))
    assert loaded(said) == [1, 2, 1]
    assert ends(said) == [260, 520, 680, 940, 1100]


@three
@pytest.mark.parametrize(("capacity", "over"), [(300, 460), (200, 410)])
def test_a_set_streams_if_what_is_not_static_of_it_has_no_room(
    by: str, capacity: int, over: int
) -> None:
    # A prompt of 0, 1 and 2, grouped. With room for 1 and 2 the three are one group, once 2 is
    # there at 310. With room for one, 0 computes from 110 on, 1 from 210 on, and 2 follows at 260.
    trace = make_trace([[[0]], [[1]], [[2]]], 3, sizes=[100], prompt=3)
    inputs = system(trace, machine(), capacity=capacity, static=[0], overlap="grouped")
    assert end(read(by, inputs, FixedCost(1))) == over


@three
def test_a_static_expert_that_is_proposed_is_redundant(by: str) -> None:
    predictions = {"guess": saying([[[0]], [[0]]])}
    trace = make_trace([[[0]], [[0]]], 2, sizes=[100], predictions=predictions)
    inputs = system(
        trace, machine(), capacity=200, static=[0], predictors=recorded(guess={}),
        eviction="prediction-aware",
    )  # fmt: skip
    said = read(by, inputs, FixedCost(1))
    assert dict(zip(DISPOSITIONS, said["dispositions"][0]))["redundant"] == said["proposed"] == 2
    assert (said["loads"], end(said)) == ([], 320)


@three
def test_host_memory_begins_with_what_may_be_loaded(by: str) -> None:
    # It has room for one, which is 1: 100 bytes over the link. From storage they would take more.
    trace = make_trace([[[1]]], 3, sizes=[100])
    inputs = system(trace, machine(), capacity=200, static=[0], host=100)
    said = read(by, inputs, FixedCost(1))
    assert said["moved_bytes"] == [[0, 0, 0], [100, 0, 0]]
    assert end(said) == 260


@three
def test_a_warm_cache_is_filled_with_others(by: str) -> None:
    trace = make_trace([[[1]]], 3, sizes=[100])
    inputs = system(trace, machine(), capacity=200, static=[0], cache={"warm": "first"})
    said = read(by, inputs, FixedCost(1))
    assert (said["loads"], end(said)) == ([], 160)


@three
@pytest.mark.parametrize("eviction", ["lru", "s3-fifo"])
def test_a_layer_that_is_static_needs_no_room(by: str, eviction: str) -> None:
    # Layer 0 has its two experts and 0 bytes beside them, layer 1 room for one.
    trace = make_trace([[[0], [0]], [[1], [1]]], 2, sizes=[100, 100])
    inputs = system(trace, machine(), capacity=[200, 100], static=[0, 1], eviction=eviction)
    said = read(by, inputs, FixedCost(2))
    assert loaded(said) == [2, 3]
    assert ends(said) == [160, 420, 580, 840]


@three
def test_where_all_is_static_nothing_is_loaded(by: str) -> None:
    trace = make_trace([[[0, 1]], [[2, 0]]], 3, sizes=[100])
    inputs = system(trace, machine(), capacity=300, static=[0, 1, 2], eviction="s3-fifo")
    said = read(by, inputs, FixedCost(1))
    assert (said["loads"], ends(said)) == ([], [210, 420])


@three
def test_part_of_the_top_k_may_be_all_that_there_is_room_for(by: str) -> None:
    # Of three experts one is not static: its 100 bytes are enough for every pair.
    trace = make_trace([[[0, 2]], [[2, 1]], [[1, 0]]], 3, sizes=[100])
    inputs = system(trace, machine(), capacity=300, static=[0, 1])
    said = read(by, inputs, FixedCost(1))
    assert loaded(said) == [2]
    assert ends(said) == [260, 470, 680]


# Bounds


def test_a_bound_counts_what_is_left_beside_static_experts() -> None:
    # 2, 3 and 4 stream through two rooms, and 0 and 1 are still there. A cache of four that holds
    # the set together keeps one of them at most: that bound would be 400 bytes.
    trace = make_trace([[[2]], [[3]], [[4]], [[0]], [[1]]], 6, sizes=[100], prompt=3)
    inputs = system(trace, machine(), capacity=400, static=[0, 1])
    _, found = run_system(inputs, FixedCost(1, attention=0, gate=0, expert=0))
    assert found["bounds_ms"]["link"] == 300 / 1e6 == found["total_ms"]
    assert found["cache"] == {"bytes": 400, "static": {"experts": 2, "bytes": 200}}


def with_static(small: Small) -> Small:
    return replace(small, static=small.static or 1 + small.routing % 9)


@given(st.one_of(smalls(), strained(), smalls(evictions=("belady",))).map(with_static))
def test_no_run_is_below_its_bounds(small: Small) -> None:
    assert beaten(small.run()) == []


# What runs of a sweep share


def test_runs_that_differ_in_what_is_static_share_nothing() -> None:
    rng = np.random.default_rng(1)
    routing = [[rng.choice(6, 2, replace=False).tolist() for _ in range(2)] for _ in range(40)]
    one = system(make_trace(routing, 6, sizes=(30, 50)), machine(), capacity=240)
    hits, bounds = set(), set()
    for static in ((), (0,), (1,), (0, 7)):
        runs = []
        for name in ("simpy", "compiled"):
            config = one.config.model_copy(update={"engine": name})
            runs.append(replace(one, config=config, static=static))
        with uncompiled():
            done = [simulate(run, cost=FixedCost(2), one_of_many=True) for run in runs]  # type: ignore[arg-type]
        assert differences(*done) == []
        hits.add(str(done[0].layers.column("hits").tolist()))
        _, found = run_system(runs[0], FixedCost(2))
        bounds.add(found["bounds_ms"]["link"])
    assert len(hits) == len(bounds) == 4


def test_hits_are_worked_out_apart_beside_a_layer_that_is_static() -> None:
    from unittest.mock import patch

    from prefetch_sim.sim.compiled import replay

    trace = make_trace([[[0], [0]], [[1], [1]], [[0], [0]]], 2, sizes=[100, 100])
    inputs = system(trace, machine(), capacity=[200, 100], static=[0, 1], engine="compiled")
    with uncompiled(), patch.object(replay, "misses", wraps=replay.misses) as replayed:
        simulate(inputs, cost=FixedCost(2), one_of_many=True)  # type: ignore[arg-type]
    assert replayed.called
    assert not tiers.keeps_all(inputs)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize(
    "static", [{"layers": "last 2"}, {"popular": "20%"}, {"uniform": "20%"}, {"experts": [[0, 3]]}]
)
def test_engines_agree_on_the_sample(scope: str, static: dict[str, Any]) -> None:
    config = RunConfig.model_validate(
        {
            "requests": "0:1",
            "cache": {"capacity": "40%", "scope": scope, "static": static, "warm": "popular"},
            "predictor": ["cross-layer", "pre-attention"],
            "hardware": "l4",
        }
    )
    with uncompiled():
        _, found = compare(config)
    assert found == []


# Which


TOPOLOGY = MODEL.layers, MODEL.experts  # 4 x 8, top-2


def counted(tmp_path: Path, counts: Any = None, **columns: Any) -> str:
    """A CSV of ``counts`` [layer][expert]."""
    path = tmp_path / "counts.csv"
    rows = [[*at, n] for at, n in np.ndenumerate(np.zeros(TOPOLOGY) if counts is None else counts)]
    lines = ["layer,expert,count"] + [
        f"{a[0]},{a[1]},{int(n)}" for a, n in ((row[:2], row[2]) for row in rows)
    ]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    small_trace(tmp_path / "small.parquet")
    return {"trace": str(tmp_path / "small.parquet"), "hardware": "a100-pcie-40gb"}


def chosen(tree: dict[str, Any], static: Any, **cache: Any) -> Inputs:
    return load(parse({**tree, "cache": {"capacity": "50%", "static": static, **cache}}, "my.yaml"))


def places(inputs: Inputs) -> list[tuple[int, int]]:
    return [divmod(x, MODEL.experts) for x in inputs.static]


def test_none_is_the_default(tree: dict[str, Any]) -> None:
    for static in (None, "none"):
        assert chosen(tree, static).static == ()
    assert load(parse(tree, "my.yaml")).config.cache.static is None


@pytest.mark.parametrize(
    ("named", "layers"),
    [("first 1", [0]), ("last 1", [3]), (" last  1 ", [3]), ([2], [2]), ("first 2", [0, 1])],
)
def test_whole_layers(tree: dict[str, Any], named: Any, layers: list[int]) -> None:
    static = chosen(tree, {"layers": named}, capacity="60%").static
    assert list(static) == [layer * 8 + e for layer in layers for e in range(8)]
    everything = chosen(tree, {"layers": [3, 1, 0, 2]}, capacity="100%")
    assert everything.static == tuple(range(32))


def test_the_most_used_by_the_traces_own_counts(tree: dict[str, Any]) -> None:
    inputs = chosen(tree, {"popular": {"experts": 5}})
    used = inputs.workload.popularity.ravel()
    others = np.delete(used, list(inputs.static))
    assert len(inputs.static) == 5
    assert used[list(inputs.static)].min() >= others.max()
    assert (
        chosen(tree, {"popular": "25%"}).static == chosen(tree, {"popular": {"experts": 8}}).static
    )


def test_the_most_used_by_other_counts(tree: dict[str, Any], tmp_path: Path) -> None:
    # Those used alike: the layers evenly, the lowest ids first.
    counts = np.zeros(TOPOLOGY)
    counts[3, 7], counts[2, 5] = 9, 8
    file = counted(tmp_path, counts)
    inputs = chosen(tree, {"popular": {"experts": 5}, "counts": file})
    assert places(inputs) == [(0, 0), (1, 0), (2, 0), (2, 5), (3, 7)]
    inputs = chosen(tree, {"uniform": {"experts": 9}, "counts": file})  # 8 of them
    assert places(inputs) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 5), (3, 0), (3, 7)]


def test_fill_is_all_of_the_caches_capacity(tree: dict[str, Any]) -> None:
    assert len(chosen(tree, {"uniform": "fill"}, capacity="100%").static) == 32
    message = refused_by(tree, {"popular": "fill"})
    assert message.startswith("cache.static: 12.0 MiB of experts in a cache of 12.0 MiB leave 0.0 ")


@pytest.mark.parametrize(
    ("named", "capacity", "layers"),
    [
        ("last fill", "60%", [2, 3]),
        ("first fill", "74.9%", [0, 1]),
        (" last  fill ", "75%", [1, 2, 3]),
        ("first fill", "100%", [0, 1, 2, 3]),
    ],
)
def test_as_many_whole_layers_as_fit(
    tree: dict[str, Any], named: str, capacity: str, layers: list[int]
) -> None:
    static = chosen({**tree, "misses": "cpu"}, {"layers": named}, capacity=capacity).static
    assert list(static) == [layer * 8 + e for layer in layers for e in range(8)]


def test_layers_of_several_sizes_fill_from_their_end() -> None:
    from prefetch_sim.sim.setup.static_experts import _layers

    assert _layers("last fill", [10, 30, 20], 50) == [1, 2]
    assert _layers("last fill", [10, 30, 20], 49) == [2]  # 10 would fit, but is not next
    assert _layers("first fill", [10, 30, 20], 49) == [0, 1]
    with pytest.raises(ConfigError, match=r"cache\.static\.layers: .* cannot hold the last layer"):
        _layers("last fill", [10, 30, 20], 19)


def test_what_does_not_fit_is_passed_over_for_what_does() -> None:
    from prefetch_sim.sim.setup.static_experts import _popular

    counts = np.array([[9, 5], [8, 4]])
    assert _popular(counts, [30, 20], 55) == (0, 2)  # 9 and 8: 50 bytes
    assert _popular(counts, [30, 20], 45) == (0,)
    assert _popular(counts, [30, 20], 29) == (2,)  # 8
    assert _popular(counts, [30, 10], 50) == (0, 2, 3)  # 5 does not fit, 4 does


def test_experts_by_name(tree: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "experts.csv"
    file.write_text("expert, layer, why\n3,1,x\n0,0,y\n")
    for named in (str(file), [[1, 3], [0, 0]]):
        assert places(chosen(tree, {"experts": named})) == [(0, 0), (1, 3)]


def test_a_layers_partition_has_its_static_experts_and_a_share_of_what_they_leave(
    tree: dict[str, Any],
) -> None:
    size = MODEL.bytes_per_expert()[0]
    inputs = chosen(tree, {"layers": "first 1"}, scope="layer", capacity={"experts": 20})
    assert inputs.cache_bytes == [8 * size, 4 * size, 4 * size, 4 * size]
    cache = tiers.make_cache(inputs)
    assert cache.room == [0, 4 * size, 4 * size, 4 * size]
    inputs = chosen(tree, {"experts": [[0, 0], [0, 1]]}, scope="layer", capacity={"experts": 17})
    assert inputs.cache_bytes == [2 * size + 3 * size, 4 * size, 4 * size, 4 * size]
    whole = chosen(tree, {"layers": "first 4"}, scope="layer", capacity="100%")
    assert tiers.keeps_all(whole)
    assert whole.cache_bytes == [8 * size] * 4


def test_host_memory_need_not_have_static_experts(tree: dict[str, Any]) -> None:
    inputs = chosen({**tree, "host": {"capacity": "75%"}}, {"layers": "last 1"})
    assert inputs.host_bytes is None  # all others are there
    assert chosen({**tree, "host": {"capacity": "75%"}}, None).host_bytes is not None
    everything = {**tree, "host": {"capacity": "1B"}}
    assert chosen(everything, {"layers": "first 4"}, capacity="100%").host_bytes is None


def test_where_misses_need_no_room_nothing_has_to_be_left(tree: dict[str, Any]) -> None:
    inputs = chosen(tree, {"experts": [[0, 0]]})
    model, sizes, static = inputs.model, inputs.sizes, tuple(range(16))
    total = sum(sizes) * 4
    found = capacities.cache_bytes(inputs.config, model, sizes, total, static, loads=False)
    assert found == [total]
    with pytest.raises(ConfigError, match=r"leave 0\.0 MiB"):
        capacities.cache_bytes(inputs.config, model, sizes, total, static)


# Errors


def refused_by(tree: dict[str, Any], static: Any, **cache: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        chosen(tree, static, **cache)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("my.yaml: ")


@pytest.mark.parametrize(
    ("static", "message"),
    [
        ("nine", "'nine' says of no experts which: none, or a mapping; did you mean 'none'?"),
        (5, "5 says of no experts which: none, or a mapping; known: "),
        ({}, "give exactly one of layers, popular, uniform or experts"),
        ({"popular": "5%", "uniform": "5%"}, "give exactly one of"),
        ({"layer": "first 2"}, ".layer: unknown key; did you mean 'layers'?"),
        ({"layers": "frist 2"}, ".layers: 'frist 2' names no layers; did you mean 'first'?"),
        (
            {"layers": "first"},
            ".layers: 'first' names no layers: write 'first 12', 'last 12', 'last fill' or",
        ),
        ({"layers": "first 0"}, ".layers: 'first 0' names no layers: write"),
        (
            {"layers": 3},
            ".layers: 3 names no layers: write 'first 12', 'last 12', 'last fill' or [0, 1, 5]",
        ),
        ({"layers": []}, ".layers: [] names no layers: write"),
        ({"layers": [-1]}, ".layers: -1 is no layer: write 'first 12', 'last 12', 'last fill' or"),
        (
            {"layers": ["a"]},
            ".layers: 'a' is no layer: write 'first 12', 'last 12', 'last fill' or",
        ),
        ({"layers": "first 17"}, ".layers: 'first 17', but the model has 16"),
        ({"layers": [1, 16]}, ".layers: there is no MoE layer 16, the model has 16 (0 to 15)"),
        ({"layers": [1, 2, 1]}, ".layers: 1 is named twice"),
        ({"popular": "lots"}, ".popular: 'lots' is not a capacity: write '25%', "),
        ({"popular": {"expert": 1}}, ".popular.expert: unknown key; did you mean 'experts'?"),
        ({"popular": "5%", "count": "x"}, ".count: unknown key; did you mean 'counts'?"),
        ({"layers": "first 1", "counts": "x"}, "counts go with popular or uniform"),
        ({"popular": "1MiB"}, ".popular: 1.0 MiB cannot hold one expert (12.0 MiB)"),
        ({"uniform": "1%"}, ".uniform: 122.9 MiB cannot hold one expert of each layer (192.0 MiB)"),
        ({"popular": "5%", "counts": "no.csv"}, ".counts: no.csv: cannot be read (No such file"),
        ({"experts": "no.csv"}, ".experts: no.csv: cannot be read (No such file or directory)"),
        ({"experts": "~nobody-here/x.csv"}, ".experts: ~nobody-here/x.csv: cannot be read ("),
        ({"popular": "5%", "counts": "~nobody-here/x.csv"}, ".counts: ~nobody-here/x.csv: cannot"),
        ({"experts": "a\0.csv"}, ".experts: a\0.csv: cannot be read (embedded null byte)"),
        ({"experts": []}, ".experts: [] names no experts: write a CSV or [[layer, expert], ...]"),
        ({"experts": 3}, ".experts: 3 names no experts: write a CSV or [[layer, expert], ...]"),
        ({"experts": [[1]]}, ".experts: [1] is no expert: write a CSV or [[layer, expert], ...]"),
        ({"experts": [3]}, ".experts: 3 is no expert: write a CSV or"),
        ({"experts": [[16, 0]]}, ".experts: [16, 0]: there is no layer 16, the model has 16 MoE "),
        ({"experts": [[0, 64]]}, ".experts: [0, 64]: there is no expert 64, the model has 16 MoE "),
        ({"experts": [[0, 1], [0, 1]]}, ".experts: [0, 1]: layer 0, expert 1 is named twice"),
        (
            {"layers": "first 5"},
            "3840.0 MiB of experts do not fit in the 3072.0 MiB of cache.capacity",
        ),
        (
            {"popular": "24.89%"},
            "3048.0 MiB of experts in a cache of 3072.0 MiB leave 24.0 MiB, which cannot hold "
            "what else there is of one layer's top-8 (96.0 MiB)",
        ),
    ],
)
def test_what_is_wrong_is_one_line(static: Any, message: str) -> None:
    if not message.startswith("."):
        message = ": " + message
    found = refused_inputs(cache={"static": static}).removeprefix("my.yaml: ")
    assert found.startswith(f"cache.static{message}")


def test_the_layer_that_lacks_room_is_named() -> None:
    message = refused_inputs(cache={"static": {"layers": "last 3"}, "scope": "layer"})
    assert message == (
        "cache.static: 2304.0 MiB of experts in a cache of 3072.0 MiB leave 59.1 MiB in layer 0, "
        "which cannot hold what else there is of one layer's top-8 (96.0 MiB)"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'layer'"),
        ("layer,expert,counts\n", "no column 'count'; did you mean 'counts'?"),
        ("layer,expert,count\n", "no rows"),
        ("layer,expert,count\n0,0,\n", "row 1: '' is no number (count)"),
        ("layer,expert,count\n0,0,1\n0,-1,1\n", "row 2: '-1' is no number (expert)"),
        ("layer,expert,count\n0,0,1.5\n", "row 1: '1.5' is no number (count)"),
        ("layer,expert,count\n0,0,1\n0,0,1\n", "row 2: layer 0, expert 0 is named twice"),
        ("layer,expert,count\n4,0,1\n", "row 1: there is no layer 4, the model has 4 MoE layers x"),
        ("layer,expert,count\n0,8,1\n", "row 1: there is no expert 8, the model has 4 MoE layers"),
        ("layer,expert,count\n0,0,1\n", "no row for layer 0, expert 1: 1 of 4 MoE layers x 8 "),
    ],
)
def test_a_wrong_file_of_counts_is_one_line(
    tree: dict[str, Any], tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "counts.csv"
    file.write_text(text)
    found = refused_by(tree, {"popular": "10%", "counts": str(file)})
    assert found.startswith(f"cache.static.counts: {file}: {message}")


def test_a_wrong_file_of_experts_is_one_line(tree: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "experts.csv"
    file.write_text("layer,expert\n0,1\n0,1\n")
    assert refused_by(tree, {"experts": str(file)}) == (
        f"cache.static.experts: {file}: row 2: layer 0, expert 1 is named twice"
    )
    file.write_bytes(b"\xff\xfe")
    assert refused_by(tree, {"experts": str(file)}).startswith(
        f"cache.static.experts: {file}: cannot be read ("
    )


def test_a_config_is_what_it_says_again() -> None:
    for static in ({"layers": [0, 2]}, {"popular": "20%"}, {"experts": [[0, 1]]}, None):
        config = RunConfig.model_validate({"cache": {"static": static}})
        assert RunConfig.model_validate(config.model_dump(mode="json")) == config
    assert set_path({}, "cache.static.popular", "20%") == {"cache": {"static": {"popular": "20%"}}}
    with pytest.raises(ConfigError, match=r"cache\.static is 'none', which has no keys"):
        set_path({"cache": {"static": "none"}}, "cache.static.layers", "first 1")
    assert refused({"cache": {"static": {"layers": "last 0"}}}).startswith("cache.static.layers: ")
    assert refused({"cache": {"static": {"popular": "0%"}}}).startswith("cache.static.popular: ")


# Through the command line


def test_a_run_says_what_is_static(tree: dict[str, Any], tmp_path: Path) -> None:
    config = write_config(tmp_path / "run.yaml", **tree)
    file = counted(tmp_path)
    said = {}
    for engine in ("simpy", "compiled"):
        with uncompiled():
            ran = here(
                "run", config, "--json", "--set", f"cache.static={{popular: 25%, counts: {file}}}",
                "--set", f"engine={engine}", cwd=tmp_path,
            )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        said[engine] = json.loads(ran.stdout)
    static = said["simpy"]["cache"]["static"]
    assert static == {"experts": 8, "bytes": 8 * MODEL.bytes_per_expert()[0]}
    for found in said.values():
        assert found.pop("engine") == found["config"].pop("engine")
    assert said["simpy"] == said["compiled"]
    shown = here("run", config, "--set", "cache.static.layers=last 1", cwd=tmp_path)
    assert "lru in 12.0 MiB with 6.0 MiB static (" in shown.stdout.replace("\n", " ")
    wrong = here("run", config, "--set", "cache.static.layers=lats 1", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.splitlines()[-1].endswith("'lats 1' names no layers; did you mean 'last'?")


def test_what_is_static_is_an_axis_of_a_sweep(tree: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "experts.csv"
    file.write_text("layer,expert\n0,1\n")
    axis = ["none", {"layers": "last 1"}, {"popular": "25%"}, {"uniform": "25%"}]
    axis += [{"experts": str(file)}, {"experts": [[0, 1], [3, 2]]}]
    config = write_config(tmp_path / "sweep.yaml", **tree, sweep={"cache.static": axis})

    def swept() -> list[dict[str, str]]:
        ran = here("sweep", config, "--out", "out", "--jobs", "1", cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        with (tmp_path / "out" / "results.csv").open() as opened:
            return list(csv.DictReader(opened))

    rows = swept()
    assert [row["cache.static.experts"] for row in rows] == ["0", "8", "8", "8", "1", "2"]
    assert rows[1]["config.cache.static"] == '{"layers": "last 1"}'
    assert not any(name.startswith("config.cache.static.") for name in rows[0])
    assert len({row["axis.cache.static"] for row in rows}) == 6
    file.write_text("layer,expert\n0,1\n0,2\n")  # known by content
    assert [row["cache.static.experts"] for row in swept()] == ["0", "8", "8", "8", "2", "2"]
    plot = here("plot", "out", cwd=tmp_path)
    assert plot.returncode == 0, plot.stderr
