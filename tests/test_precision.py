"""Bytes of weights by precision, against what a device recorded of the files that it ran."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from prefetch_sim.hardware_profiles import load_profile, load_runtime, override
from prefetch_sim.sim.config.files import parse, set_path
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.traces.models.precision import Precision, Published, rate
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.models.weights import Weights

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "big-moe-on-edge"
IDEAL = load_runtime("ideal")

# Of GGUF files in Q4_K_M, as BigMoeOnEdge read them (github.com/Helldez/BigMoeOnEdge at 2d4f2b11):
# bytes of an expert and of the rest of a layer, where a layer has more bits and where it has not,
# and the layers that have more.
MORE = {
    "qwen3-30b-a3b": [*range(6), *range(8, 42, 3), *range(42, 48)],
    "gpt-oss-120b": [*range(4), *range(6, 31, 3), *range(31, 36)],
}
READ = {
    "qwen3-30b-a3b": ((3_059_712, 2_654_208), (11_953_152, 11_682_816)),
    "gpt-oss-120b": ((13_219_200, 13_219_200), (23_280_128, 22_727_168)),
}


def of_layers(name: str) -> tuple[list[int], list[int]]:
    """Bytes of an expert, and of all else, by layer."""
    weights = Weights.of(load_model(name), "Q4_K_M")
    return list(weights.experts), [n + weights.gate + weights.biases for n in weights.attention]


@pytest.mark.parametrize("name", READ)
def test_a_mix_has_more_bits_where_llama_cpp_gives_them(name: str) -> None:
    experts, rest = of_layers(name)
    expert, beside = READ[name]
    at = [layer not in MORE[name] for layer in range(len(experts))]  # index of the size
    assert experts == [expert[i] for i in at]
    # Norms, and gpt-oss's biases of attention, are not counted.
    assert rest == pytest.approx([beside[i] for i in at], rel=0.0026)


@pytest.mark.parametrize(("name", "file"), [("qwen3-30b-a3b", "qwen"), ("gpt-oss-120b", "gptoss")])
def test_layers_are_as_in_the_recording(name: str, file: str) -> None:
    path = RECORDINGS / f"{file}.route.csv"
    if not path.exists():
        pytest.skip(f"no recording at {path}")
    pattern = r"# layer=\d+ expert_bytes=(\d+) dense_bytes=(\d+)"
    recorded = re.findall(pattern, path.read_text(encoding="utf-8"))
    experts, rest = of_layers(name)
    assert experts == [int(expert) for expert, _ in recorded]
    assert rest == pytest.approx([int(beside) for _, beside in recorded], rel=0.0026)


def weight_bytes(model: ModelSpec, precision: str) -> int:
    weights = Weights.of(model, precision)
    return sum(weights.experts) * model.experts + weights.beside_experts


@pytest.mark.parametrize(
    ("precision", "gb"),
    [("Q5_K_M", 21.74), ("Q6_K", 25.10), ("Q8_0", 32.48), ("bf16", 61.10)],
)
def test_a_whole_file_is_as_large_as_published(precision: str, gb: float) -> None:
    """Qwen_Qwen3-30B-A3B-GGUF of bartowski, by llama.cpp b5200; it has tokenizer and norms too."""
    assert weight_bytes(load_model("qwen3-30b-a3b"), precision) / 1e9 == pytest.approx(gb, abs=0.05)


def test_more_bits_are_more_bytes() -> None:
    names = ["Q2_K", "Q3_K_M", "IQ4_XS", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "bf16"]
    for model in map(load_model, ("deepseek-v2-lite", "mixtral-8x7b", "qwen3-30b-a3b")):
        sizes = [weight_bytes(model, name) for name in names]
        assert sizes == sorted(sizes)


def test_rows_that_fit_no_block_have_smaller_ones() -> None:
    """DeepSeek-V2-Lite's down projections have rows of 1408: Q5_0 for Q4_K, Q8_0 for Q6_K."""
    experts = Weights.of(load_model("deepseek-v2-lite"), "Q4_K_M").experts
    up, down = 2 * 1408 * 2048 * 144 // 256, 1408 * 2048 // 32
    assert set(experts) == {up + down * 22, up + down * 34}


def test_mixtral_has_more_bits_in_attention() -> None:
    weights = Weights.of(load_model("mixtral-8x7b"), "Q4_K_M")
    q, kv = 4096 * 4096 // 256, 4096 * 1024 // 32
    assert set(weights.attention) == {q * 144 + 2 * kv * 34 + q * 176}


def test_shared_experts_gates_and_embeddings_in_a_mix() -> None:
    model = load_model("deepseek-v2-lite")
    weights = Weights.of(model, "MXFP4_MOE")
    assert set(weights.experts) == {3 * 2048 * 1408 * 17 // 32}
    assert set(weights.shared) == {2 * 3 * 2048 * 1408 * 34 // 32}
    assert weights.dense == (3 * 2048 * 10944 * 34 // 32,)
    assert weights.gate == 2048 * 64 * 4
    assert weights.head == weights.embedding == 102400 * 2048 * 34 // 32
    mixed = Weights.of(model, "Q4_K_M")
    assert (mixed.head, mixed.embedding) == (102400 * 8 * 210, 102400 * 8 * 144)


def test_one_name_is_of_all_weights_or_of_the_experts() -> None:
    parts = ("experts", "shared", "attention", "head")
    every = dict.fromkeys(parts, "Q4_K_M")
    assert Precision.of("Q4_K_M") == Precision.of("q4_k_m") == Precision.model_validate(every)
    assert Precision.of("bf16") == Precision.model_validate(dict.fromkeys(parts, "bf16"))
    assert Precision.of("int4") == Precision(experts="int4")
    both = Precision.model_validate({"name": "Q4_K_M", "attention": "Q8_0", "kv": "q8_0"})
    assert both == Precision.model_validate({**every, "attention": "Q8_0", "kv": "q8_0"})


def test_what_is_left_out_is_as_published() -> None:
    v3 = load_model("deepseek-v3").precision
    assert Precision.of("int4").over(v3) == Published(experts="int4", attention="fp8")
    assert str(v3) == "experts fp8, shared fp8, attention fp8"
    k3 = load_model("kimi-k3").precision
    assert Precision.of("int4").over(k3) == Published(experts="int4", shared="bf16")
    oss = load_model("gpt-oss-20b").precision
    assert str(oss) == "mxfp4"
    # llama.cpp does not quantise MXFP4 again.
    assert Precision.of("Q4_K_M").over(oss).experts == "mxfp4"
    assert Precision.of("bf16").over(oss).experts == "bf16"


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        ("Q4_K", ["precision: 'Q4_K' is none of ", "'Q4_K_M'"]),
        ({"kv": "int4"}, ["precision: kv: 'int4' is none of 'f32', 'bf16', 'f16', 'fp8', 'q8_0'"]),
        ({"expert": "int4"}, ["precision.expert: unknown key", "'experts'"]),
    ],
)
def test_a_precision_that_is_none(precision: Any, words: list[str]) -> None:
    with pytest.raises(Exception, match="precision") as caught:
        parse({"precision": precision}, "my.yaml")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_every_part_is_read_in_its_own_precision() -> None:
    """One token on a machine that does nothing but read, at a byte a ns."""
    machine = override(
        load_profile("a100-pcie-40gb"),
        {
            "compute.tflops.bf16": 1e6,
            "compute.memory_gb_s": 1,
            "compute.expert_efficiency": 1,
            "compute.launch_us": 0,
        },
    )
    model = load_model("deepseek-v2-lite")
    own, less = (
        CostModel(model, machine, IDEAL, precision=precision).step("decode", [1], [999])
        for precision in (None, {"attention": "fp8", "head": "fp8", "kv": "q8_0"})
    )
    weights = Weights.of(model)
    cached = 1000 * (512 + 64)
    read = weights.attention[0] + cached * 2
    assert own.attention_ns[0] - less.attention_ns[0] == read - (
        weights.attention[0] // 2 + cached * 34 // 32
    )
    assert own.prologue_ns[0] - less.prologue_ns[0] == (
        own.attention_ns[0] - less.attention_ns[0] + weights.dense[0] // 2
    )
    assert own.epilogue_ns - less.epilogue_ns == weights.head // 2
    assert (own.gate_ns, own.shared_ns) == (less.gate_ns, less.shared_ns)


def test_a_mix_computes_at_the_rate_of_int4_where_a_profile_has_one() -> None:
    assert [rate(name) for name in ("Q4_K_M", "Q8_0", "MXFP4_MOE")] == ["int4", "bf16", "mxfp4"]
    model = load_model("qwen3-30b-a3b")
    plain = load_profile("rtx-4090")
    faster = override(plain, {"compute.tflops.int4": 2 * plain.compute.tflops.bf16.value})
    one, two = (
        CostModel(model, machine, IDEAL, precision="Q4_K_M").expert_ns(0, 100_000)
        for machine in (plain, faster)
    )
    assert one == pytest.approx(2 * two, abs=2)


def test_fill_and_a_sweep_over_the_cache_know_the_precision() -> None:
    tree = {
        "trace": {"synthetic": "qwen3-30b-a3b", "requests": 1, "prompt": 4, "decode": 4},
        "precision": "Q4_K_M",
        "hardware": "rtx-3060-ti",
        "context": 32_768,
        "cache": {"capacity": "fill"},
    }
    half, quarter = (
        load(parse(set_path(tree, "precision.kv", kv), "y")).cache_bytes for kv in ("bf16", "fp8")
    )
    cached = 32_768 * 48 * 2 * 4 * 128
    model = load_model("qwen3-30b-a3b")
    assert half == [8 * 2**30 - Weights.of(model, "Q4_K_M").beside_experts - 2 * cached]
    assert quarter[0] - half[0] == cached
