"""Routing made to a published hit rate, or loads by step: the simulated cache has just that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import run_cli
from harness import FixedCost, machine, system

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse
from prefetch_sim.sim.run import run, simulate
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.traces.format import TraceError
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec
from prefetch_sim.traces.published import Cache, Drawn, read_loads, with_hit_rate, with_loads

MIXED = ModelSpec(
    name="mixed",
    layers=4,
    hidden=8,
    experts=16,
    top_k=3,
    expert_hidden=4,
    attention=GroupedQueryAttention(heads=2, kv_heads=1, head_dim=4),
    vocab=100,
    expert_bytes=(1000, 1300, 1000, 1700),
)
SIZES = list(MIXED.bytes_per_expert())


def simulated(trace: dict[str, Any], **keys: Any) -> Any:
    return simulate(load(parse({"trace": trace, **keys}, "my.yaml")))


def loads_by_step(trace: dict[str, Any], **keys: Any) -> list[int]:
    """Of the decode steps."""
    done = simulated(trace, **keys)
    missing = done.layers.column("experts") - done.layers.column("hits")
    by_step = missing.reshape(len(done.steps), -1).sum(axis=1)
    return by_step[np.asarray(done.steps.column("prefill")) == 0].tolist()  # type: ignore[no-any-return]


def written(folder: Path, loads: list[int]) -> str:
    path = folder / "loads.csv"
    path.write_text("step,loads\n" + "".join(f"{i},{n}\n" for i, n in enumerate(loads)))
    return str(path)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_each_step_loads_what_the_file_says(tmp_path: Path, engine: str) -> None:
    loads = np.random.default_rng(1).integers(0, 97, 60).tolist()
    made = {"synthetic": "gpt-oss-20b", "loads_per_step": written(tmp_path, [96, 95, 0, *loads])}
    trace = {**made, "at": "3GiB", "prompt": 40}
    found = loads_by_step(trace, cache={"capacity": "3GiB"}, engine=engine)
    assert found[2:] == [0, *loads]
    assert found[:2] == [96, 95]


@pytest.mark.parametrize("prompt", [0, 1, 9])
@pytest.mark.parametrize("capacity", [20_001, 37_000])
def test_experts_of_several_sizes(prompt: int, capacity: int) -> None:
    loads = [12, *np.random.default_rng(2).integers(0, 13, 40).tolist()]
    drawn = Drawn(prompt=prompt, skew=0.7, reuse=0.5, seed=3)
    trace = with_loads(MIXED, Cache(SIZES, capacity), loads, drawn)
    inputs = system(trace, machine(), capacity=capacity)
    done = simulate(inputs, cost=FixedCost(4))  # type: ignore[arg-type]
    missing = done.layers.column("experts") - done.layers.column("hits")
    found = missing.reshape(len(done.steps), -1).sum(axis=1).tolist()
    assert found[1 if prompt else 0 :] == loads


def test_below_a_lap_nothing_stays_until_it_is_needed_again() -> None:
    with pytest.raises(TraceError, match="step 2: 6 loads are fewer than can be"):
        with_loads(MIXED, Cache(SIZES, 6000), [12, 6], Drawn(0, 0.7, 0.5, 3))


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.741, 0.93])
@pytest.mark.parametrize("prompt", [0, 16])
def test_the_hit_rate_is_what_was_asked_for_cold_start_included(rate: float, prompt: int) -> None:
    trace = {"synthetic": "qwen3-30b-a3b", "hit_rate": rate, "at": "9GiB", "prompt": prompt}
    trace |= {"requests": 2, "decode": 100}
    results = run(parse({"trace": trace, "cache": {"capacity": "9GiB"}, "precision": "int4"}, "y"))
    assert results["hit_rate"]["decode"] == pytest.approx(rate, abs=0.005)


def test_other_sizes_give_what_the_routing_gives() -> None:
    trace = {"synthetic": "gpt-oss-20b", "hit_rate": 0.7, "at": "40%", "requests": 2}
    rates = [
        run(parse({"trace": trace, "cache": {"capacity": size}}, "y"))["hit_rate"]["decode"]
        for size in ("20%", "30%", "40%", "50%", "100%")
    ]
    assert rates == sorted(rates)
    assert rates[2] == pytest.approx(0.7, abs=0.005)
    assert rates[0] < 0.6
    assert rates[-1] > 0.75


def test_the_seed_decides() -> None:
    cache, drawn = Cache(SIZES, 30_000), Drawn(4, 0.5, 0.3, 1)
    one, same = (with_hit_rate(MIXED, cache, 0.6, 2, 50, drawn) for _ in range(2))
    other = with_hit_rate(MIXED, cache, 0.6, 2, 50, drawn._replace(seed=2))
    np.testing.assert_array_equal(one.experts, same.experts)
    assert (one.experts != other.experts).any()
    assert "hit_rate=0.6 of an LRU cache of 30000 bytes" in str(one.meta.recorded["made_by"])


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        ({"hit_rate": 0.5}, "trace: hit_rate and loads_per_step go with `at`"),
        ({"at": "2GiB"}, "trace: hit_rate and loads_per_step go with `at`"),
        ({"hit_rate": 1.5, "at": "2GiB"}, "trace.hit_rate: Input should be less than 1"),
        ({"hit_rate": 0.5, "at": "lots"}, "trace.at: 'lots' is not a capacity"),
        ({"hit_rate": 0.5, "at": "fill"}, "trace: at: a size is needed, not fill"),
        ({"hit_rate": 0.5, "at": "9MiB"}, "trace: at: 9.0 MiB cannot hold one layer's top-k"),
        (
            {"hit_rate": 0.99, "at": "2GiB", "requests": 1, "decode": 9, "prompt": 0},
            "trace: hit_rate: 0.99 cannot be reached at 2048.0 MiB in 9 decode steps; the nearest",
        ),
        ({"loads_per_step": "no.csv", "at": "2GiB"}, "trace.loads_per_step: no.csv: cannot be"),
        (
            {"loads_per_step": "no.csv", "at": "2GiB", "decode": 3},
            "trace: loads_per_step is of one request, whose steps the file counts",
        ),
        (
            {"loads_per_step": "no.csv", "hit_rate": 0.4, "at": "2GiB"},
            "trace: give hit_rate or loads_per_step, not both",
        ),
    ],
)
def test_what_cannot_be_is_one_line(trace: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(parse({"trace": {"synthetic": "gpt-oss-20b", **trace}}, "my.yaml"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_requests_at_once_are_refused() -> None:
    trace = {"synthetic": "gpt-oss-20b", "hit_rate": 0.5, "at": "3GiB"}
    with pytest.raises(ConfigError, match=r"^batch_size: trace.hit_rate and loads_per_step are of"):
        load(parse({"trace": trace, "batch_size": 2}, "my.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,load\n1,2\n", "no column 'loads'"),
        ("", "no column 'loads'"),
        ("loads\n", "no rows"),
        ("loads\n3\n-1\n", "row 2: '-1' is no number of loads"),
        ("loads\n3.5\n", "row 1: '3.5' is no number of loads"),
        ("step,loads\n1\n", "row 1: None is no number of loads"),
        ("loads\n9999999\n", "step 1: 9999999 loads are more than can be"),
        ("loads\n96\n0\n" + "96\n" * 3 + "0\n", ""),
    ],
)
def test_files_of_loads(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "loads.csv"
    path.write_text(text)
    config = tmp_path / "run.yaml"
    config.write_text(
        f"trace: {{synthetic: gpt-oss-20b, loads_per_step: {path}, at: 3GiB, prompt: 0}}\n"
        "cache: {capacity: 3GiB}\n"
    )
    ended = run_cli("run", config)
    if not message:
        assert ended.code == 0
        assert read_loads(path) == (96, 0, 96, 96, 96, 0)
        return
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_an_edited_file_is_another_run(tmp_path: Path) -> None:
    from prefetch_sim.experiments.sweeps.identity import identify, key_of

    def key(loads: list[int]) -> str:
        made = {"synthetic": "gpt-oss-20b", "loads_per_step": written(tmp_path, loads)}
        return key_of(identify(load(parse({"trace": {**made, "at": "3GiB"}}, "my.yaml"))))

    assert key([96, 5, 4]) != key([96, 5, 6])
