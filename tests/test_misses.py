"""Miss policies: their contract, what each chooses, and what a config may say of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_support import run_cli
from contracts.misses import Case, MissContract, choose
from hypothesis import given
from hypothesis import strategies as st
from test_properties import EXAMPLES, Small, smalls, total_ns

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse, set_path
from prefetch_sim.sim.misses import cheapest, cpu
from prefetch_sim.sim.misses.base import ABSENT, MOVES, WAITS, Layer
from prefetch_sim.sim.run import run, simulate
from prefetch_sim.sim.setup.inputs import load


class TestLoad(MissContract):
    policy = "load"


class TestCpu(MissContract):
    policy = "cpu"


class TestCheapest(MissContract):
    policy = "cheapest"


def test_every_policy_has_its_contract() -> None:
    tested = {c.policy for c in MissContract.__subclasses__()}
    assert tested == set(registry.names("misses"))


LAYER = Layer(tokens=1, up_to=31, load_ns=100, link_ns=0, cpu_ns=30)


def test_cpu_takes_steps_of_few_tokens() -> None:
    case = Case([80, 80], [ABSENT, MOVES], LAYER)
    assert choose(cpu, case) == [1, 1]
    assert choose(cpu, case._replace(layer=LAYER._replace(tokens=31))) == [1, 1]
    assert choose(cpu, case._replace(layer=LAYER._replace(tokens=32))) == [0, 0]


@pytest.mark.parametrize(
    ("cpu_ns", "state", "link_ns", "chosen"),
    [
        ([69, 69], [ABSENT, ABSENT], 0, [1, 0]),  # 99 against 100; 168 against 100
        ([70, 70], [ABSENT, ABSENT], 0, [0, 1]),  # 100 against 100: loaded; 100 against 200
        ([70, 70], [ABSENT, ABSENT], 5, [1, 0]),  # 100 against 105; 170 against 105
        ([150], [MOVES], 150, [0]),  # it lands by then
        ([119], [MOVES], 150, [1]),
        ([150], [WAITS], 150, [1]),  # it does not
    ],
)
def test_cheapest_turns_where_the_other_is_through_first(
    cpu_ns: list[int], state: list[int], link_ns: int, chosen: list[int]
) -> None:
    case = Case(cpu_ns, state, LAYER._replace(link_ns=link_ns))
    assert choose(cheapest, case) == chosen


# Configs

SMALL: dict[str, Any] = {
    "trace": {"synthetic": "olmoe-1b-7b", "requests": 1, "prompt": 2, "decode": 3},
    "cache": {"capacity": "30%"},
    "runtime": "llama.cpp",
}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"misses": "cpus"}, "misses.policy: unknown miss policy 'cpus'; did you mean 'cpu'?"),
        (
            {"misses": "cpu", "hardware": {"cpu": "none"}},
            "misses.policy: cpu: rtx-4090 has no `cpu` to compute experts on",
        ),
        (
            {"misses": "cpu", "hardware": "strix-halo"},
            "misses.policy: cpu: strix-halo has one memory",
        ),
        ({"misses": {"then": "fetch"}}, "misses.then: "),
        ({"misses": {"up_to": -1}}, "misses.up_to: "),
        (
            {"misses": {"polici": "cpu"}},
            "misses.polici: unknown key; did you mean 'policy'?",
        ),
        ({"misses": "os.path"}, "misses.policy: 'os.path' is no miss policy: it has no 'plan'"),
        (
            {"misses": "cpu", "hardware": {"cpu": {"start_us": -1}}},
            "cpu.start_us",
        ),
        (
            {
                "misses": "cpu",
                "cache": {"capacity": "30%", "static": {"popular": "30%"}},
                "host": {"capacity": "40%"},
            },
            "host.capacity: what is not there has to be loaded, and beside cache.static there is",
        ),
    ],
)
def test_what_cannot_be_is_one_line(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(parse(SMALL | keys, "my.yaml"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_lists_and_runs_them() -> None:
    assert "cheapest" in run_cli("list", "misses").out
    sets = ["--set", "misses=cpu", "--set", "cache.capacity=20%"]
    done = run_cli("run", "experiments/readme.yaml", "--set", "requests=0:1", *sets)
    assert done.code == 0, done.err
    assert "of routed experts computed on the CPU" in done.out
    assert "compute, shared out to GPU and CPU" in done.out  # not the compute of above, the GPU's


def test_a_layer_left_to_the_cpu_needs_no_cache() -> None:
    """llama.cpp's --n-cpu-moe: some layers on the GPU for good, the rest where they are."""
    keys = {"cache": {"capacity": "25%", "static": {"layers": "last 4"}}, "misses": "cpu"}
    found = run(parse(SMALL | keys, "my.yaml"))
    assert found["cache"]["static"]["experts"] == 4 * 64
    assert found["hit_rate"]["decode"] == 4 / 16
    assert found["cpu_rate"] + found["hit_rate"]["all"] == pytest.approx(1)
    assert sum(found["bytes"]["host_to_gpu"].values()) == 0


def test_a_policy_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(cpu.__file__).read_text()).replace("layer.tokens <= layer.up_to", "count > 8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()  # else a file mine.py goes first
    (tmp_path / "mine" / "misses.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = run(parse(SMALL | {"misses": "mine.misses"}, "my.yaml"))
    for name in ("mine", "mine.misses"):
        sys.modules.pop(name)
    assert 0 < found["cpu_rate"] < 1


# What holds of every system

ALONE = smalls(equal=True, predictors=0, cpu=True).filter(lambda small: small.cpu is not None)


@EXAMPLES
@given(ALONE, st.sampled_from(["load", "cpu"]), st.sampled_from(["gb_s", "expert", "cpu"]))
def test_what_is_faster_is_never_slower(small: Small, policy: str, faster: str) -> None:
    """Without contention and prefetch: a link, a GPU or a CPU of twice the speed."""
    assert small.cpu is not None
    misses = {"policy": policy, "then": "keep", "up_to": 31}
    small = replace(
        small,
        host=None,
        prompt=0,
        cost=small.cost | {"slowed": 1},
        room=tuple(max(small.k, room) for room in small.room),
        config=small.config | {"misses": misses},
        link=small.link | {"contended": None, "chunk_mib": None},
        cpu=small.cpu | {"contended": small.cpu["expert"]},
    )
    quick = small
    if faster == "gb_s":
        quick = replace(small, link=small.link | {"gb_s": 2 * small.link["gb_s"]})
    elif faster == "expert":
        quick = replace(small, cost=small.cost | {"expert": small.cost["expert"] // 2})
    else:
        halved = {name: ns // 2 for name, ns in small.cpu.items()}
        quick = replace(small, cpu=halved)
    assert total_ns(quick.run()) <= total_ns(small.run())


@pytest.mark.parametrize(
    "keys",
    [
        {"misses": "cpu", "hardware": {"cpu": {"expert_gb_s": {"bf16": 1e-9}}}},
        {"misses": "cpu", "hardware": {"cpu": {"tflops": {"bf16": 1e-300}}}},
        {"misses": "cheapest", "hardware": {"contention": {"cpu": 1e-12}}},
        {"misses": "cheapest", "hardware": {"contention": {"host_link": 1e-300}}},
        {"misses": "cpu", "runtime": {"name": "ideal", "cpu": {"submit_us": 1e9}}},
    ],
)
def test_what_its_clock_could_not_hold_is_one_line(keys: dict[str, Any]) -> None:
    machine = {"name": "rtx-4090", "cpu": "threadripper-pro-5955wx", **keys.get("hardware", {})}
    if "cpu" in keys.get("hardware", {}):
        machine["cpu"] = {"name": "threadripper-pro-5955wx", **keys["hardware"]["cpu"]}
    config = SMALL | keys | {"hardware": machine}
    if "runtime" in keys:
        assert simulate(load(parse(config, "my.yaml"))).events  # long, and no longer than that
        return
    with pytest.raises(ConfigError, match=r"the run's clock would not hold that"):
        simulate(load(parse(config, "my.yaml")))


def test_keys_below_a_policy_by_name_are_axes() -> None:
    tree = set_path({"misses": "cpu"}, "misses.then", "load")
    assert parse(SMALL | tree, "my.yaml").misses.model_dump() == {
        "policy": "cpu",
        "then": "load",
        "up_to": 31,
    }


def test_layers_that_are_wholly_static_need_no_room() -> None:
    cache = {"capacity": "50%", "scope": "layer", "static": {"layers": "first 2"}}
    for misses in ("load", "cpu"):
        found = run(
            parse(SMALL | {"cache": cache, "host": {"capacity": "60%"}, "misses": misses}, "m.yaml")
        )
        assert found["cache"]["static"]["experts"] == 128
