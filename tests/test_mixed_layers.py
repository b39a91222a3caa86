"""Layers that attend differently or not at all: what they cost, cache and weigh."""

from __future__ import annotations

from typing import Any

import pytest

from prefetch_sim.hardware_profiles import HardwareProfile, load_profile, load_runtime, override
from prefetch_sim.sim.config.files import parse
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.models.weights import Weights

IDEAL = load_runtime("ideal")
GQA = {"kind": "gqa", "heads": 8, "kv_heads": 2, "head_dim": 16}
STATE = {"kind": "recurrent", "projected": 640, "width": 256, "state": 4096}
NONE = {"kind": "none"}
WINDOW = {**GQA, "sliding_window": 10}
SHAPE: dict[str, Any] = {
    "name": "made-up",
    "layers": 6,
    "hidden": 64,
    "experts": 8,
    "top_k": 2,
    "expert_hidden": 32,
    "attention": GQA,
    "vocab": 100,
}
# A byte a ns, and everything else free: times are bytes.
READS = {
    "compute.tflops.bf16": 1e6,
    "compute.memory_gb_s": 1,
    "compute.expert_efficiency": 1,
    "compute.launch_us": 0,
}


def model(**fields: Any) -> ModelSpec:
    return ModelSpec.model_validate(SHAPE | fields)


def others(*layers: tuple[list[int], dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"layers": own, "attention": attention} for own, attention in layers]


@pytest.fixture
def machine() -> HardwareProfile:
    return override(load_profile("a100-pcie-40gb"), READS)


def attention(spec: ModelSpec, machine: HardwareProfile, cached: int) -> list[int]:
    step = CostModel(spec, machine, IDEAL, precision=None).step("decode", [1], [cached])
    return [ns - 2 * step.norm_ns for ns in step.attention_ns]


def test_five_local_layers_to_a_global_one(machine: HardwareProfile) -> None:
    spec = model(other_attention=others(([0, 1, 2, 3, 4], WINDOW)))
    weights, token = 2 * 64 * 16 * (8 + 2 + 2 + 8), 2 * 2 * 16 * 2
    assert attention(spec, machine, 99) == [*[weights + 10 * token] * 5, weights + 100 * token]
    assert attention(spec, machine, 4) == [weights + 5 * token] * 6


def test_a_state_is_read_and_written_whatever_the_context(machine: HardwareProfile) -> None:
    spec = model(other_attention=others(([0], STATE)))
    weights = 2 * 64 * (640 + 256)
    for cached in (0, 10_000):
        assert attention(spec, machine, cached)[0] == weights + 2 * 4 * 4096
    assert Weights.of(spec).attention[0] == weights


def test_a_layer_of_experts_alone_has_one_norm(machine: HardwareProfile) -> None:
    spec = model(
        dense_layers=[0, 1, 2],
        bare_layers=[0, 1],
        dense_hidden=32,
        mlp_matrices=2,
        other_attention=others(([0], STATE), ([2, 3], NONE)),
    )
    step = CostModel(spec, machine, IDEAL, precision=None).step("decode", [1], [0])
    norm = step.norm_ns
    assert step.attention_ns[0] == norm
    # Two blocks that mix, each with its norm, and an MLP with its own.
    mixed = 2 * 64 * (640 + 256) + 2 * 4 * 4096 + 2 * 64 * 16 * 20 + 2 * 2 * 16 * 2
    assert step.prologue_ns[0] == mixed + 3 * norm + 2 * 2 * 64 * 32
    assert Weights.of(spec).dense == (2 * 2 * 64 * 32,)


def test_experts_of_two_matrices_on_a_latent(machine: HardwareProfile) -> None:
    spec = model(mlp_matrices=2, expert_input=16)
    assert spec.bytes_per_expert() == (2 * 2 * 16 * 32,) * 6
    weights = Weights.of(spec)
    assert weights.latent == (2 * 2 * 64 * 16,) * 6
    plain = CostModel(model(mlp_matrices=2), machine, IDEAL, precision=None)
    narrow = CostModel(spec, machine, IDEAL, precision=None)
    assert narrow.expert_ns(0, 1) == 2 * 2 * 16 * 32
    of_tokens = [4 * 2 * width * 2 for width in (64, 16)]
    one, two = (cost.step("decode", [1], [0]).moe_fixed_ns for cost in (plain, narrow))
    assert two - one == of_tokens[1] - of_tokens[0] + 2 * 2 * 64 * 16


def test_a_gate_and_values_of_their_own_width() -> None:
    gated = model(attention={**GQA, "gated": True})
    assert Weights.of(gated).attention[0] == 2 * 64 * 16 * (8 + 8 + 2 + 2 + 8)
    values = model(attention={**GQA, "value_dim": 8})
    assert Weights.of(values).attention[0] == 2 * 64 * (16 * (8 + 2) + 8 * (2 + 8))
    one = model(attention={**GQA, "shared_kv": True})
    assert Weights.of(one).attention[0] == 2 * 64 * 16 * (8 + 2 + 8)


def test_the_cache_that_is_kept_is_each_layers_own() -> None:
    tree = {
        "trace": {"synthetic": "mixtral-8x7b", "requests": 1, "prompt": 4, "decode": 4},
        "hardware": {"name": "rtx-4090", "host": {"memory_gib": 200}},
        "context": 1000,
        "cache": {"capacity": "fill"},
        "model": {"other_attention": others(([0, 1], WINDOW), ([2], STATE), ([3], NONE))},
    }
    mixed = load(parse(tree, "y"))
    plain = load(parse({k: v for k, v in tree.items() if k != "model"}, "y"))
    freed = Weights.of(plain.model).beside_experts - Weights.of(mixed.model).beside_experts
    layer = 1000 * 2 * 8 * 128 * 2
    kept = 2 * 10 * 2 * 2 * 16 * 2 + 4 * 4096
    assert mixed.cache_bytes[0] - plain.cache_bytes[0] == freed + 4 * layer - kept


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"other_attention": others(([6], WINDOW))}, "layers are not once each in 0..5"),
        ({"other_attention": others(([1], WINDOW), ([1], STATE))}, "layers are not once each"),
        ({"bare_layers": [0]}, "bare_layers: some are none of dense_layers"),
        ({"experts": 32_768}, "less than or equal to 32767"),
    ],
)
def test_shapes_that_do_not_hold(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        model(**fields)
