"""Runtimes: all load, every figure is sourced, a config names them, and bad input is one line."""

from __future__ import annotations

from typing import Any

import pytest
from cli_support import run_cli

from prefetch_sim.hardware_profiles import (
    ProfileError,
    RuntimeProfile,
    list_runtimes,
    load_profile,
    load_runtime,
    override,
)
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.cost.runtime import RuntimeCost
from prefetch_sim.sim.cost.transfers import copies_of
from prefetch_sim.sim.run import run, simulate
from prefetch_sim.sim.setup.inputs import load

NAMES = [
    "big-moe-on-edge",
    "ideal",
    "imp",
    "ktransformers",
    "llama.cpp",
    "mlx-stream",
    "moe-infinity",
    "transformers-eager",
]
MIB = 2**20
IDEAL = load_runtime("ideal")
SMALL: dict[str, Any] = {
    "trace": {"synthetic": "olmoe-1b-7b", "requests": 1, "prompt": 2, "decode": 3}
}


def test_catalogue() -> None:
    assert list(list_runtimes()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_runtime_holds(name: str) -> None:
    runtime = load_runtime(name)
    assert runtime.name == name
    for path, figure in runtime.flat().items():
        assert len(figure.source) > 10, path
        certain = name == "ideal" or figure.kind == "datasheet"
        assert figure.uncertainty > 0 or certain, path


def test_the_ideal_one_costs_nothing() -> None:
    assert {path: f.value for path, f in IDEAL.flat().items() if f.value} == {"load.copies": 1}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ideal"])
def test_a_real_one_is_slower(name: str) -> None:
    config = SMALL | {"cache": {"capacity": "30%"}}
    results = run(parse(config | {"runtime": name}, "my.yaml"))
    # With the same kernels and overlap, so that nothing but its own work differs.
    same = {key: getattr(load_runtime(name), key) for key in ("kernels", "overlap")}
    ideal = run(parse(config | {"runtime": {"name": "ideal", **same}}, "my.yaml"))
    lacks = results["runtime"].pop("lacks")
    assert results["runtime"] == {"name": name, **same}
    assert lacks == (" + ".join(w for w in load_runtime(name).lacks if w == "loads") or None)
    assert ideal["runtime_ms"] == 0 < results["runtime_ms"]
    assert ideal["total_ms"] < results["total_ms"]
    assert ideal["compute_ms"] == results["compute_ms"]
    parts = [results["compute_ms"], results["runtime_ms"], *results["stall_ms"].values()]
    assert sum(parts) == pytest.approx(results["total_ms"], abs=1e-5)


def test_what_it_takes_is_added_where_it_happens() -> None:
    model, machine = load_model("deepseek-v2-lite"), load_profile("rtx-4090")
    own = override(IDEAL, {"step_us": 500, "layer_us": 20.0004, "routing_us": 7})
    plain, cost = (CostModel(model, machine, r, precision="bf16") for r in (IDEAL, own))
    one, other = (c.step("decode", [1], [100]) for c in (plain, cost))
    assert other.epilogue_ns - one.epilogue_ns == 500_000
    assert other.gate_ns - one.gate_ns == 7_000
    more = {b - a for a, b in zip(one.prologue_ns, other.prologue_ns)}
    assert more == {20_000}  # rounded by itself
    assert (other.attention_ns, other.norm_ns) == (one.attention_ns, one.norm_ns)
    assert (other.shared_ns, other.moe_fixed_ns) == (one.shared_ns, one.moe_fixed_ns)


def test_bookkeeping_is_by_expert_and_by_its_bytes() -> None:
    runtime = override(IDEAL, {"miss.us": 10, "miss.us_per_mib": 4, "step_us": 1, "layer_us": 2})
    cost = RuntimeCost.of(runtime, [MIB, 3 * MIB // 2])
    assert cost.miss_ns == (14_000, 16_000)
    assert cost.total_ns(5, 58_000) == 5 * (1_000 + 2 * 2_000) + 58_000


@pytest.mark.parametrize(
    ("nbytes", "copies"), [(90, 3), (89, 3), (60, 2), (61, 3), (30, 1), (31, 2), (1, 1)]
)
def test_copies_of_a_part(nbytes: int, copies: int) -> None:
    assert copies_of(nbytes, 90, 3) == copies


def test_it_keeps_memory_for_itself() -> None:
    tree = SMALL | {"cache": {"capacity": "11GiB"}, "host": {"capacity": "100%"}}
    load(parse(tree, "my.yaml"))
    with pytest.raises(ConfigError, match=r"and 15.62 GiB that the runtime keeps"):
        load(parse(tree | {"runtime": {"name": "ideal", "reserve_mib": 16_000}}, "my.yaml"))


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ("lama.cpp", "unknown runtime 'lama.cpp'; did you mean 'llama.cpp'?"),
        ({"name": "ideal", "kernel": "eager"}, "has no 'kernel'; did you mean 'kernels'?"),
        ({"name": "ideal", "kernels": "captured"}, "kernels: Input should be 'fused' or 'eager'"),
        ({"name": "ideal", "overlap": "some"}, "overlap: Input should be 'per_expert', "),
        ({"name": "ideal", "load": {"copies": 0}}, "load.copies: value must be a whole number"),
        ({"name": "ideal", "load": {"copies": 1.5}}, "load.copies: value must be a whole number"),
        ({"name": "ideal", "miss": {"us": -1}}, "miss.us.value: Input should be greater than"),
        ({"name": "ideal", "miss": {"us": 1e30}}, "miss.us: value must be at most 1,000,000,000"),
        ({"name": "ideal", "layer_us": "slow"}, "layer_us: 'slow' is not a number in µs"),
        ({"miss": 3}, "miss: expected a mapping of figures, not 3"),
        ({"miss": {"us": [1, 2]}}, "miss.us: [1, 2] is not a number in µs"),
        ({"reserve_mib": 1e30}, "reserve_mib: value must be at most 1,000,000,000 MiB, not 1e+30"),
        ({"name": "nowhere.yaml"}, "nowhere.yaml: no such file"),
    ],
)
def test_bad_runtimes_are_one_line(runtime: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^runtime: ") as caught:
        load(parse(SMALL | {"runtime": runtime}, "my.yaml"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"runtime": {"load": {"issue_us": 1e9, "copies": 65536}}},
            "a load takes 6.55e+07 s on rtx-4090 with ideal: the run's clock would not hold that",
        ),
        ({"runtime": {"miss": {"us_per_mib": 1e9}}}, "bookkeeping takes 1.2e+04 s on rtx-4090"),
        ({"hardware": {"host_link": {"gb_s": 1e-9}}}, "a load takes 1.26e+07 s on rtx-4090"),
        ({"hardware": {"host_link": {"gb_s": 1e-308}}}, "takes for ever on rtx-4090 with ideal"),
        ({"hardware": {"compute": {"memory_gb_s": 1e-12}}}, "an expert takes "),
    ],
)
def test_no_run_is_longer_than_its_clock(engine: str, keys: dict[str, Any], message: str) -> None:
    trace = {**SMALL["trace"], "decode": 4000}
    with pytest.raises(ConfigError) as caught:
        simulate(load(parse({"trace": trace, "engine": engine, **keys}, "my.yaml")))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_figures_alone_are_of_the_default() -> None:
    found = load(parse(SMALL | {"runtime": {"kernels": "eager"}}, "my.yaml")).runtime
    assert (found.name, found.kernels) == ("ideal", "eager")
    with pytest.raises(ConfigError, match="hardware 'rtx-4090' has no 'gb_s'; did you mean"):
        load(parse(SMALL | {"hardware": {"gb_s": 4}}, "my.yaml"))


def test_a_runtime_cut_short_names_what_is_missing(tmp_path: Any) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ndescription: mine\nkernels: fused\n")
    with pytest.raises(ProfileError) as caught:
        load_runtime(path)
    assert str(caught.value) == (
        f"{path}: missing: overlap, step_us, layer_us, routing_us, miss.us, miss.us_per_mib, "
        "miss.beside_us, load.issue_us, load.copies, load.read_us, cpu.submit_us, "
        "reserve_mib"
    )


def test_the_command_line_lists_and_shows_them() -> None:
    listed = run_cli("list", "runtimes").out
    assert all(name in listed for name in NAMES)
    shown = run_cli("runtime", "show", "llama.cpp").out
    assert "kernels fused, overlap grouped" in shown
    for path in load_runtime("llama.cpp").flat():
        assert path in shown
    refused = run_cli("runtime", "show", "lama.cpp")
    assert refused.code == 2
    assert "did you mean 'llama.cpp'?" in refused.err


def test_a_runtime_of_ones_own_is_a_file(tmp_path: Any) -> None:
    text = IDEAL.model_copy(update={"name": "mine"}).model_dump_json()
    (tmp_path / "mine.yaml").write_text(text)  # JSON is YAML
    found = load(parse(SMALL | {"runtime": str(tmp_path / "mine.yaml")}, "my.yaml")).runtime
    assert isinstance(found, RuntimeProfile)
    assert found.name == "mine"


def test_a_run_says_what_its_runtime_does_not_do() -> None:
    sets = ["--set", "requests=0:1", "--set", "runtime=llama.cpp"]
    said = run_cli("run", "experiments/readme.yaml", *sets).out
    assert "llama.cpp prefetches nothing and loads no expert that a token misses: this" in said
    found = load(parse(SMALL | {"runtime": "llama.cpp", "misses": "cpu"}, "my.yaml"))
    assert found.lacking == []
    assert "run on" not in said
    said = run_cli("run", "experiments/readme.yaml", *sets[:2], "--set", "runtime=imp").out
    assert "imp does not run on rtx-4090 (ada): this is what it might take there." in said
    found = load(parse(SMALL | {"runtime": "imp", "misses": "cheapest"}, "my.yaml"))
    assert found.lacking == ["cpu"]
