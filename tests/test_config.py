"""Configs: every wrong one is a single line that says where and what was probably meant."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_models import PARAMETERS

from prefetch_sim.hardware_profiles import load_runtime
from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
from prefetch_sim.sim.config.files import parse, parse_assignment, read_yaml, set_path
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.config.schema import Capacity, RunConfig, SyntheticTrace, parse_slice
from prefetch_sim.sim.cost.reserve import reserve
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.synthetic import synthesise

IDEAL = load_runtime("ideal")
DRAWN: dict[str, Any] = {
    "requests": 1, "prompt": 0, "decode": 1, "skew": 0.5, "reuse": 0.3, "seed": 0,
}  # fmt: skip
SMALL = {"synthetic": "olmoe-1b-7b", "requests": 1, "prompt": 0, "decode": 1}


def refused(tree: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(tree, "my.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("my.yaml: ")
    return message.removeprefix("my.yaml: ")


def refused_inputs(**tree: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(parse({"trace": SMALL, "hardware": "rtx-4090", **tree}, "my.yaml"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"hardwear": "l4"}, "hardwear: unknown key; did you mean 'hardware'?"),
        ({"cache": {"evicton": "lru"}}, "cache.evicton: unknown key; did you mean 'eviction'?"),
        (
            {"prefetch": {"cancel": True}},
            "prefetch.cancel: unknown key; did you mean 'cancel_stale'?",
        ),
        (
            {"cache": {"capacity": {"expert": 3}}},
            "cache.capacity.expert: unknown key; did you mean 'experts'?",
        ),
        (
            {"trace": {"synthetic": "olmoe-1b-7b", "request": 3}},
            "trace.request: unknown key; did you mean 'requests'?",
        ),
        ({"host": {"size": 3}}, "host.size: unknown key"),
    ],
)
def test_an_unknown_key_names_its_path_and_the_nearest(tree: dict[str, Any], message: str) -> None:
    assert refused(tree).startswith(message)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"batch_size": "many"}, ["batch_size: ", "'many'"]),
        ({"batch_size": 0}, ["batch_size: ", "greater than 0", "0"]),
        ({"batch_size": 10**23}, ["batch_size: ", "less than or equal"]),
        ({"overlap": "per-expert"}, ["'overlap'", "runtime.overlap"]),
        ({"kernels": "eager"}, ["'kernels'", "runtime.kernels"]),
        ({"precision": "fp4"}, ["precision: ", "'mxfp4'", "'fp4'"]),
        ({"cache": {"scope": "all"}}, ["cache.scope: ", "'global'", "'all'"]),
        ({"cache": "lru"}, ["cache: "]),
        ({"prefetch": {"extra": -1}}, ["prefetch.extra: ", "-1"]),
        ({"prefetch": {"threshold": 1.5}}, ["prefetch.threshold: ", "1.5"]),
        ({"prefetch": {"cancel_stale": "maybe"}}, ["prefetch.cancel_stale: ", "'maybe'"]),
        ({"hardware": 4}, ["hardware: expected a name, or a mapping with a name, not 4"]),
        (
            {"predictor": [None]},
            ["predictor.0: expected a name, or a mapping with a name, not None"],
        ),
        ({"requests": 5}, ["requests: '5' is not a slice of requests: write '0:20'"]),
        (
            {"predictor": [{"recall": 0.5}]},
            ["predictor.0: no name is given, which 'recall'"],
        ),
        ({"trace": 3}, ["trace"]),
        ({"seed": -1}, ["seed: ", "-1"]),
        ({"seed": 2**63}, ["seed: ", "less than or equal"]),
        ({"trace": {**SMALL, "skew": 11}}, ["trace.skew: ", "less than 10", "11"]),
        ({"cache": {"capacity": {"share": float("nan")}}}, ["cache.capacity.share: "]),
    ],
)
def test_a_wrong_value_is_shown_with_its_path(tree: dict[str, Any], words: list[str]) -> None:
    message = refused(tree)
    assert message.startswith(words[0])
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("25%", {"share": 0.25}),
        ("12.5 %", {"share": 0.125}),
        ("100%", {"share": 1.0}),
        ("4000MiB", {"bytes": 4000 * 2**20}),
        ("1.5GB", {"bytes": 1_500_000_000}),
        ("512 B", {"bytes": 512}),
        ({"experts": 384}, {"experts": 384}),
        ({"share": 0.5}, {"share": 0.5}),
    ],
)
def test_capacities(text: Any, expected: dict[str, Any]) -> None:
    parsed = Capacity.model_validate(text)
    assert parsed.model_dump(exclude_none=True) == expected


@pytest.mark.parametrize(
    "text",
    ["lots", "25", "0%", "101%", "-5%", "4XB", "1.2.3GB", "", "0B",
     {"experts": 0}, {"share": 2}, {}, {"experts": 3, "share": 0.5}, 25],
)  # fmt: skip
def test_bad_capacities_are_refused_at_their_path(text: Any) -> None:
    message = refused({"cache": {"capacity": text}})
    assert message.startswith("cache.capacity")
    assert refused({"host": {"capacity": text}}).startswith("host.capacity")


def test_a_bad_capacity_shows_how_to_write_one() -> None:
    message = refused({"cache": {"capacity": "lots"}})
    assert message == (
        "cache.capacity: 'lots' is not a capacity: write '25%', '4000MiB', 'fill' or {experts: 384}"
    )


@pytest.mark.parametrize("digits", [22, 400])
def test_a_capacity_of_no_memory_is_refused(digits: int) -> None:
    number = "9" * digits
    assert refused({"cache": {"capacity": f"{number}GiB"}}) == (
        f"cache.capacity: '{number}GiB' is more than any memory holds"
    )
    assert refused({"cache": {"static": {"popular": f"{number}B"}}}).startswith(
        "cache.static.popular: "
    )
    for unit in ("experts", "bytes"):
        assert refused({"cache": {"capacity": {unit: int(number)}}}).startswith(
            f"cache.capacity.{unit}: Input should be less than or equal to 9223372036854775807"
        )


@pytest.mark.parametrize("number", [25, 0.25, 4000, True, [25]])
def test_a_number_is_no_capacity(number: Any) -> None:
    message = refused({"cache": {"capacity": number}})
    assert message == (
        f"cache.capacity: {number!r} is not a capacity: "
        "write '25%', '4000MiB', 'fill' or {experts: 384}"
    )


def test_what_a_capacity_comes_to_in_bytes() -> None:
    sizes = [10, 10, 30, 30]
    assert Capacity.model_validate("25%").resolve(sizes, 50) == 20
    assert Capacity(experts=3).resolve(sizes, 50) == 90  # room for any three
    assert Capacity(bytes=17).resolve(sizes, 50) == 17
    fill = Capacity.model_validate("fill")
    assert [fill.resolve(sizes, left) for left in (50, 79, 80, 81, 10**9)] == [50, 79, 80, 80, 80]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:20", slice(0, 20)),
        (":5", slice(None, 5)),
        ("3:", slice(3, None)),
        (" 1 : 2 ", slice(1, 2)),
    ],
)
def test_slices(text: str, expected: slice) -> None:
    assert parse_slice(text) == expected
    assert RunConfig(requests=text).requests == text


@pytest.mark.parametrize("text", ["5", "a:b", "-1:3", "0:4:2", "4:4", "5:2", ":0", ""])
def test_bad_slices(text: str) -> None:
    assert refused({"requests": text}).startswith(f"requests: {text!r} ")


def test_shorthands_are_the_long_forms() -> None:
    short = RunConfig.model_validate(
        {"hardware": "l4", "predictor": "oracle", "cache": {"eviction": "fifo", "capacity": "50%"}}
    )
    long = RunConfig.model_validate(
        {
            "hardware": {"name": "l4"},
            "predictor": [{"name": "oracle"}],
            "cache": {"eviction": {"name": "fifo"}, "capacity": {"share": 0.5}},
        }
    )
    assert short == long


@pytest.mark.parametrize("nothing", ["none", None, [], {"name": "none"}])
def test_no_predictor(nothing: Any) -> None:
    assert RunConfig.model_validate({"predictor": nothing}).predictor == ()


def test_a_hybrid_is_a_list_and_keeps_each_ones_keys() -> None:
    config = RunConfig.model_validate(
        {"predictor": ["next-gate", {"name": "oracle", "recall": 0.8, "distance": 2}]}
    )
    assert [c.name for c in config.predictor] == ["next-gate", "oracle"]
    assert config.predictor[1].params == {"recall": 0.8, "distance": 2}


def test_a_synthetic_trace_is_a_mapping() -> None:
    config = RunConfig.model_validate({"trace": SMALL})
    assert isinstance(config.trace, SyntheticTrace)
    assert config.trace.decode == 1


# What the config names


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"cache": {"eviction": "lruu"}}, "cache.eviction: unknown eviction 'lruu'; did you mean"),
        ({"cache": {"eviction": {"name": "lru", "a": 1}}}, "cache.eviction: 'lru' takes no"),
        ({"prefetch": {"policy": "topk"}}, "prefetch.policy: unknown prefetch 'topk'; did you"),
        ({"predictor": "orcle"}, "predictor: unknown predictor 'orcle'; did you mean 'oracle'?"),
        ({"predictor": ["oracle", "x"]}, "predictor[1]: unknown predictor 'x'; known: "),
        (
            {"predictor": {"name": "oracle", "recal": 0.5}},
            "predictor.recal: unknown key; did you mean 'recall'?",
        ),
        ({"predictor": {"name": "oracle", "recall": 2}}, "predictor.recall: "),
        ({"hardware": "rtx-4091"}, "hardware: "),
        ({"hardware": {"name": "l4", "host_link": {"gbs": 3}}}, "hardware: "),
        ({"model": "olmo-1b-7b"}, "model: unknown model 'olmo-1b-7b'; did you mean 'olmoe-1b-7b'?"),
        ({"model": "mixtral-8x7b"}, "model: mixtral-8x7b routes 32 MoE layers x 8 experts, top-2"),
        ({"trace": {**SMALL, "synthetic": "olmo"}}, "trace.synthetic: unknown model 'olmo'"),
        ({"trace": "nowhere.parquet"}, "trace: no file or sample 'nowhere.parquet'"),
        ({"requests": "0:1"}, "requests: a synthetic trace has trace.requests"),
        ({"cache": {"capacity": {"experts": 7}}}, "cache.capacity: 84.0 MiB cannot hold one"),
        ({"cache": {"capacity": "1%", "scope": "layer"}}, "cache.capacity: "),
        ({"cache": {"capacity": "900GiB"}}, "cache.capacity: 900.00 GiB do not fit"),
        ({"host": {"capacity": "1MiB"}}, "host.capacity: 1.0 MiB cannot hold one expert"),
        (
            {"predictor": {"name": "oracle", "distance": 16}},
            "predictor: distance 16 reaches past the last of 16 MoE layers: it would never",
        ),
        ({"prefetch": {"extra": 65}}, "prefetch.extra: 65 exceeds the 64 experts of a layer"),
        ({"predictor": {"name": "oracle", "cost_us": float("inf")}}, "predictor.cost_us: Input"),
        ({"predictor": {"name": "oracle", "cost_us": float("nan")}}, "predictor.cost_us: Input"),
        ({"predictor": {"name": "oracle", "cost_us": 1e15}}, "predictor.cost_us: Input"),
        ({"predictor": {"name": "recorded", "column": ["a"]}}, "predictor.column: Input should"),
        (
            {"trace": "mini-gpt-oss", "predictor": {"name": "recorded", "column": ["a"]}},
            "predictor.column: Input should be a valid string",
        ),
        (
            {"trace": {**SMALL, "decode": 100_000_000}},
            "trace: synthetic trace: 1 x 100000000 tokens in 16 layers of top-8 are "
            "12,800,000,000 routed slots, more than 250,000,000",
        ),
        ({"trace": "mini-gpt-oss", "requests": "10:500"}, "requests: '10:500' ends past the"),
        (
            {"hardware": {"name": "l4", "host_link": {"chunk_mib": 0.00001}}},
            "hardware: hardware 'l4' with overrides: host_link.chunk_mib: 1e-05 MiB is less than a "
            "page",
        ),
        (
            {"hardware": {"name": "l4", "storage": {"read_mib": 0.003}}},
            "hardware: hardware 'l4' with overrides: storage.read_mib: 0.003 MiB is less than",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_found_or_cannot_fit(tree: dict[str, Any], message: str) -> None:
    assert refused_inputs(**tree).startswith(message)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        # 1.34 billion weights of attention, 0.26 of embeddings; 32 layers of 8 KV heads.
        (
            {
                "trace": {**SMALL, "synthetic": "phi-3.5-moe", "prompt": 8191},
                "cache": {"capacity": "24GiB"},
                "batch_size": 4,
            },
            "cache.capacity: 24.00 GiB do not fit in the 24 GiB of rtx-4090 beside 2.99 GiB of "
            "other weights, 1.00 GiB of KV cache and 0.00 GiB that the runtime keeps",
        ),
        (
            {
                "trace": {**SMALL, "synthetic": "gpt-oss-20b"},
                "hardware": "jetson-orin-nano-8gb",
                "runtime": {"name": "ideal", "reserve_mib": 250},
                "cache": {"capacity": "7.8GiB"},
            },
            "cache.capacity: 7.80 GiB do not fit in the 8 GiB of jetson-orin-nano-8gb beside "
            "3.36 GiB of other weights, 0.00 GiB of KV cache and 0.24 GiB that the runtime keeps",
        ),
    ],
)
def test_the_cache_has_the_memory_that_the_rest_leaves(tree: dict[str, Any], message: str) -> None:
    assert refused_inputs(**tree) == message


def test_a_cache_that_leaves_room_for_the_rest_is_legal() -> None:
    tree = {
        "trace": {**SMALL, "synthetic": "phi-3.5-moe"},
        "cache": {"capacity": "21GiB"},
        "host": {"capacity": "50%"},
    }
    assert load(parse(tree, "my.yaml")).cache_bytes == [21 * 2**30]


def filled(**tree: Any) -> int:
    (found,) = load(parse({"cache": {"capacity": "fill"}, **tree}, "my.yaml")).cache_bytes
    return found


def test_fill_is_what_the_rest_leaves() -> None:
    trace = {**SMALL, "synthetic": "gpt-oss-20b"}
    model = load_model("gpt-oss-20b")
    beside = reserve(model, Workload(synthesise(model, **DRAWN), 1), None, IDEAL, 4096)
    small = filled(trace=trace, hardware="rtx-3060-ti", context=4096)
    assert small == 8 * 2**30 - beside.total
    own = {"name": "ideal", "reserve_mib": 600}
    keeps = filled(trace=trace, hardware="rtx-3060-ti", context=4096, runtime=own)
    assert small - keeps == 600 * 2**20
    longer = filled(trace=trace, hardware="rtx-3060-ti", context=8192)
    assert small - longer == 12 * 4096 * 2 * 8 * 64 * 2  # layers that see everything
    assert filled(trace=trace, hardware="h200") == sum(model.bytes_per_expert()) * model.experts


def test_fill_takes_all_of_host_memory() -> None:
    tree = {
        "trace": {**SMALL, "synthetic": "gpt-oss-120b"},
        "precision": "bf16",
        "cache": {"capacity": "5%"},
    }
    found = load(parse({**tree, "host": {"capacity": "fill"}}, "my.yaml"))
    assert found.host_bytes == 64 * 2**30
    small = {"trace": SMALL, "host": {"capacity": "fill"}}
    assert load(parse(small, "my.yaml")).host_bytes is None  # every expert is there
    board = {**small, "hardware": "jetson-agx-orin-64gb"}
    assert load(parse(board, "my.yaml")).host_bytes is None  # there is one memory


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            {"trace": {**SMALL, "synthetic": "mixtral-8x7b"}, "hardware": "t4", "context": 131072},
            "cache.capacity: nothing is left to fill in the 16 GiB of t4 beside 2.99 GiB of other "
            "weights, 16.00 GiB of KV cache and 0.00 GiB that the runtime keeps",
        ),
        (
            {"trace": {**SMALL, "prompt": 99, "decode": 2}, "context": 100},
            "context: 100 tokens are fewer than the trace's longest request has, 101",
        ),
    ],
)
def test_what_cannot_be_filled(tree: dict[str, Any], message: str) -> None:
    assert refused_inputs(**{"cache": {"capacity": "fill"}, **tree}) == message


@pytest.mark.parametrize("name", ["gpt-oss-20b", "mixtral-8x7b", "deepseek-v3", "olmoe-1b-7b"])
def test_reserve_and_experts_are_the_whole_model(name: str) -> None:
    model = load_model(name)
    trace = synthesise(model, requests=1, prompt=0, decode=1, skew=0, reuse=0, seed=0)
    found = reserve(model, Workload(trace, 1), "bf16", IDEAL)
    experts = sum(model.bytes_per_expert("bf16")) * model.experts
    assert (found.weights + experts) / 2e9 == pytest.approx(PARAMETERS[name], rel=0.012)


def test_kv_cache_is_that_of_the_longest_requests_of_a_batch() -> None:
    model = load_model("gpt-oss-20b")
    trace = synthesise(model, requests=2, prompt=0, decode=200, skew=0, reuse=0, seed=0)
    token = 2 * 8 * 64 * 2  # keys and values of eight heads
    one = 12 * (128 + 200) * token  # every second layer sees 128 tokens
    assert reserve(model, Workload(trace, 1), None, IDEAL).kv_cache == one
    assert reserve(model, Workload(trace, 8), None, IDEAL).kv_cache == 2 * one  # there are only two


def test_unknown_hardware_names_the_nearest() -> None:
    assert "did you mean 'rtx-4090'" in refused_inputs(hardware="rtx-4091")
    assert "gb_s" in refused_inputs(hardware={"name": "l4", "host_link": {"gbs": 3}})


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        (
            {"name": "l4", "host_link": {"gb_s": "12GB/s"}},
            "hardware: hardware 'l4': host_link.gb_s: '12GB/s' is not a number in GB/s",
        ),
        (
            {"name": "l4", "storage": {"latency_us": True}},
            "hardware: hardware 'l4': storage.latency_us: True is not a number in µs",
        ),
        (
            {"name": "l4", "storage": {"queue_depth": "x"}},
            "hardware: hardware 'l4': storage.queue_depth: 'x' is not a number",
        ),
        (
            {"name": "jetson-agx-orin-64gb", "host_link": {"gb_s": 12}},
            "hardware: hardware 'jetson-agx-orin-64gb' has no 'host_link.gb_s': it has one memory, "
            "so no host link",
        ),
        (
            {"name": "l4", "host_link": {"gb_s": {"kind": "measured"}}},
            "hardware: hardware 'l4' has no 'host_link.gb_s.kind': host_link.gb_s is one figure, "
            "give a number or all of {value, kind, source, uncertainty}",
        ),
        (
            {"name": "l4", "host_link": {"gb_s": {"value": 99}}},
            "hardware: hardware 'l4' with overrides: missing: host_link.gb_s.kind, "
            "host_link.gb_s.source, host_link.gb_s.uncertainty",
        ),
        (
            {"name": "l4", "host_link": {"gb_s": None}},
            "hardware: hardware 'l4' with overrides: host_link.gb_s: "
            "expected {value, kind, source, uncertainty}, not None",
        ),
    ],
)
def test_figures_that_cannot_be_set(hardware: dict[str, Any], message: str) -> None:
    assert refused_inputs(hardware=hardware) == message


def test_a_figure_written_out_is_taken_whole() -> None:
    figure = {"value": 9.5, "kind": "measured", "source": "this machine", "uncertainty": 0.02}
    hardware = {"name": "l4", "host_link": {"gb_s": figure}}
    link = load(parse({"trace": SMALL, "hardware": hardware}, "my.yaml")).profile.host_link
    assert link is not None
    assert link.gb_s.model_dump() == figure


def test_a_trace_without_recorded_predictors_says_so() -> None:
    assert refused_inputs(predictor="pre-attention").endswith("(the trace records no predictors)")


def test_one_memory_has_no_host_tier() -> None:
    message = refused_inputs(hardware="jetson-agx-orin-64gb", host={"capacity": "50%"})
    assert message.startswith("host.capacity: jetson-agx-orin-64gb has one memory")


def test_the_nearest_match_or_all_there_are() -> None:
    assert did_you_mean("lur", ["lru", "fifo"]) == "; did you mean 'lru'?"
    assert did_you_mean("zzz", ["lru", "fifo"]) == "; known: fifo, lru"
    assert did_you_mean("zzz", []) == ""


INSERTED = "def inserted(*_): ...\nused = inserted\n"
POLICIES = {
    "leaves": "open('ran', 'w').close()\n",
    "broken": "def new_state(:\n",
    "raises": INSERTED + "raise RuntimeError('no\\nlicence')\n",
    "ends": INSERTED + "import sys\nsys.exit(3)\n",
    "needs": INSERTED + "import nowhere_to_be_found\n",
    "half": "def new_state(*_): ...\ndef inserted(*_): ...\nused = 3\n",
    "queue": "def inserted(*_): ...\nused = victim = inserted\n",
    "typo": "def inserted(*_): ...\nused = inserted\nevicted = 3\n",
    "function": "def Params(): ...\nclass Predictor: ...\n",
    "plain": "class Params: ...\nclass Predictor: ...\n",
    "whole": "def new_state(*_): ...\ninserted = used = new_state\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``config_policies`` in the working directory, found as the console script finds it."""
    folder = tmp_path / "config_policies"
    folder.mkdir()
    for name, text in POLICIES.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    importlib.invalidate_caches()
    yield
    for name in [n for n in sys.modules if n.startswith("config_policies")]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            {"cache": {"eviction": "os.path"}},
            "cache.eviction: 'os.path' is no eviction policy: it has no 'inserted'",
        ),
        (
            {"prefetch": {"policy": "os.path"}},
            "prefetch.policy: 'os.path' is no prefetch policy: it has no 'propose'",
        ),
        (
            {"predictor": "os.path"},
            "predictor: 'os.path' is no predictor policy: it has no 'Params'",
        ),
        (
            {"cache": {"eviction": "1.foo"}},
            "cache.eviction: eviction policy '1.foo': no import path",
        ),
        ({"predictor": ".foo"}, "predictor: predictor policy '.foo': no import path"),
        (
            {"cache": {"eviction": "config_policies.broken"}},
            "cache.eviction: cannot import eviction policy 'config_policies.broken': SyntaxError: ",
        ),
        (
            {"cache": {"eviction": "config_policies.raises"}},
            "cache.eviction: cannot import eviction policy 'config_policies.raises': RuntimeError",
        ),
        (
            {"cache": {"eviction": "config_policies.ends"}},
            "cache.eviction: cannot import eviction policy 'config_policies.ends': SystemExit: 3",
        ),
        (
            {"cache": {"eviction": "config_policies.queue"}},
            "cache.eviction: 'config_policies.queue' is no eviction policy: it has 'victim' and no",
        ),
        (
            {"cache": {"eviction": "config_policies.needs"}},
            "cache.eviction: cannot import eviction policy 'config_policies.needs': ModuleNotFound",
        ),
        (
            {"cache": {"eviction": "config_policies.half"}},
            "cache.eviction: 'config_policies.half' is no eviction policy: it has no 'used'",
        ),
        (
            {"cache": {"eviction": "config_policies.typo"}},
            "cache.eviction: 'config_policies.typo' is no eviction policy: its 'evicted' is no",
        ),
        (
            {"predictor": "config_policies.function"},
            "predictor: 'config_policies.function': its Params are no prefetch_sim.",
        ),
        (
            {"predictor": "config_policies.plain"},
            "predictor: 'config_policies.plain': its Params are no prefetch_sim.",
        ),
    ],
)
def test_import_paths_that_are_no_policy(tree: dict[str, Any], message: str) -> None:
    assert refused_inputs(**tree).startswith(message)


@pytest.mark.usefixtures("package")
def test_a_policy_in_the_working_directory_is_found() -> None:
    tree = {"trace": SMALL, "cache": {"eviction": "config_policies.whole"}}
    assert load(parse(tree, "my.yaml")).eviction.__name__ == "config_policies.whole"


# Dotted paths


def test_set_path_goes_into_mappings_and_lists_and_leaves_the_original_alone() -> None:
    tree = {"cache": {"capacity": "10%"}, "predictor": [{"name": "oracle"}, "next-gate"]}
    changed = set_path(tree, "cache.capacity", "20%")
    changed = set_path(changed, "predictor.0.recall", 0.5)
    changed = set_path(changed, "predictor.1.column", "x")
    changed = set_path(changed, "prefetch.extra", 2)
    assert changed == {
        "cache": {"capacity": "20%"},
        "predictor": [{"name": "oracle", "recall": 0.5}, {"name": "next-gate", "column": "x"}],
        "prefetch": {"extra": 2},
    }
    assert tree == {"cache": {"capacity": "10%"}, "predictor": [{"name": "oracle"}, "next-gate"]}


def test_set_path_turns_a_bare_name_into_a_mapping() -> None:
    changed = set_path({"hardware": "l4"}, "hardware.host_link.gb_s", 9)
    assert changed == {"hardware": {"name": "l4", "host_link": {"gb_s": 9}}}
    assert set_path({"hardware": "l4"}, "hardware", "t4") == {"hardware": "t4"}
    changed = set_path({"cache": {"eviction": "lru"}}, "cache.eviction.a", 1)
    assert changed == {"cache": {"eviction": {"name": "lru", "a": 1}}}
    changed = set_path({"predictor": "oracle"}, "predictor.recall", 0.5)
    assert changed == {"predictor": {"name": "oracle", "recall": 0.5}}


def test_set_path_starts_from_the_default_name() -> None:
    changed = set_path({}, "hardware.host_link.gb_s", 12)
    assert changed == {"hardware": {"name": "rtx-4090", "host_link": {"gb_s": 12}}}
    assert parse(changed, "my.yaml").hardware.params == {"host_link": {"gb_s": 12}}
    assert set_path({}, "hardware.name", "l4") == {"hardware": {"name": "l4"}}
    assert set_path({}, "cache.eviction.a", 1) == {"cache": {"eviction": {"name": "lru", "a": 1}}}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("predictor.2.recall", "predictor.2.recall: '2' is no index into a list of 2"),
        ("predictor.x", "predictor.x: 'x' is no index into a list of 2"),
        ("seed.x", "seed.x: seed is 3, which has no keys; set it as a whole"),
        (
            "cache.capacity.share",
            "cache.capacity.share: cache.capacity is '25%', which has no keys; set it as a whole",
        ),
        (
            "trace.synthetic",
            "trace.synthetic: trace is 'mini-gpt-oss', which has no keys; set it as a whole",
        ),
        ("cache..x", "'cache..x' is not a dotted path"),
        ("", "'' is not a dotted path"),
    ],
)
def test_set_path_refuses(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        set_path(
            {
                "predictor": ["a", "b"],
                "seed": 3,
                "cache": {"capacity": "25%"},
                "trace": "mini-gpt-oss",
            },
            path,
            1,
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache.capacity=25%", ("cache.capacity", "25%")),
        ("seed=3", ("seed", 3)),
        ("predictor=[a, b]", ("predictor", ["a", "b"])),
        ("predictor={name: oracle, recall: 0.8}", ("predictor", {"name": "oracle", "recall": 0.8})),
        ("trace=a=b", ("trace", "a=b")),
        ("model=", ("model", None)),
        ("requests=10:20", ("requests", "10:20")),
        ("requests=':'", ("requests", ":")),
        ("cost_us=1e2", ("cost_us", 100.0)),
        ("cost_us=1e-9", ("cost_us", 1e-9)),
        ("cost_us=.5", ("cost_us", 0.5)),
        ("seed=010", ("seed", 10)),
        ("cache.warm=off", ("cache.warm", "off")),
        ("name=2024-01-01", ("name", "2024-01-01")),
        ("prefetch.cancel_stale=false", ("prefetch.cancel_stale", False)),
    ],
)
def test_assignments(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize(
    "text",
    ["seed", "=3", "predictor=[a", "requests=:", "cache={seed: 1, seed: 2}", "seed=" + "[" * 3000],
)
def test_bad_assignments(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set ") as caught:
        parse_assignment(text)
    assert "\n" not in str(caught.value)


# Files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "expected a mapping of keys, but it is a list"),
        (b"", "expected a mapping of keys, but it is empty"),
        (b"just words", "expected a mapping of keys, but it is a str"),
        (b"a: [1, 2\n", "line 2"),
        (b"3: x\n", "line 1: the key 3 is not a name"),
        (b"cache:\n  2: x\n", "line 2: the key 2 is not a name"),
        (b"seed: 1\nname: x\nseed: 2\n", "line 3: the key 'seed' is given twice"),
        (b"cache: {scope: layer, scope: global}", "line 1: the key 'scope' is given twice"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "too deeply nested"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_in_files_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("requests: 10:20\nmachine: &m {seconds: 1e-9, none: ~}\nother: *m\n")
    one = {"seconds": 1e-9, "none": None}
    assert read_yaml(path) == {"requests": "10:20", "machine": one, "other": one}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file$"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)
