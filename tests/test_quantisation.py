"""Quantised checkpoints: every way of saying so that is known, and none that is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from published_configs import PUBLISHED

from prefetch_sim.sim.config.files import parse
from prefetch_sim.sim.config.models import ModelError, load_model
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.traces.models.hf_config import ModelConfigError, read_hf_config
from prefetch_sim.traces.models.precision import size

QWEN = {k: v for k, v in PUBLISHED["Qwen3-235B-A22B"].config.items() if k != "torch_dtype"}
SHARED = {
    **PUBLISHED["GLM-4.5-Air"].config,
    "num_hidden_layers": 4,
}


def bits(given: dict[str, Any], config: dict[str, Any] = QWEN, **more: Any) -> dict[str, float]:
    """Bits a weight, by part, of ``config`` with ``given``."""
    stored = read_hf_config(config | given, **more).precision
    parts = stored.model_dump(include={"experts", "shared", "attention", "head"})
    return {part: 8 * size(name) for part, name in parts.items()}


def quantised(**given: Any) -> dict[str, Any]:
    return {"quantization_config": given}


def groups(*, ignore: tuple[str, ...] = ("lm_head",), **weights: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights}
    return quantised(
        quant_method="compressed-tensors", config_groups={"group_0": group}, ignore=[*ignore]
    )


@pytest.mark.parametrize(
    ("given", "experts", "head"),
    [
        ({}, 16, 16),
        ({"torch_dtype": "float32"}, 32, 32),
        ({"dtype": "float16"}, 16, 16),
        (quantised(quant_method="mxfp4"), 4.25, 16),
        (quantised(quant_method="fp8", weight_block_size=[128, 128]), 8, 16),
        (quantised(quant_method="fbgemm_fp8"), 8, 16),
        (quantised(quant_method="gptq", bits=4, group_size=128), 4.125, 16),
        (quantised(quant_method="gptq", bits=4, group_size=32), 4.5, 16),
        (quantised(quant_method="gptq", bits=4, group_size=-1), 4, 16),
        (quantised(quant_method="gptq", bits=8, group_size=128), 8.125, 16),
        (quantised(quant_method="gptq", bits=3, group_size=64), 3.25, 16),
        (quantised(quant_method="awq", bits=4, group_size=64), 4.25, 16),
        (quantised(quant_method="awq", w_bit=4, q_group_size=128), 4.125, 16),
        (quantised(quant_method="auto-round", bits=4, group_size=32, data_type="int"), 4.5, 16),
        (quantised(quant_method="auto-round", bits=4, group_size=32, data_type="mx_fp"), 4.25, 16),
        (quantised(quant_method="bitsandbytes", load_in_8bit=True), 8, 16),
        (quantised(quant_method="bitsandbytes", load_in_4bit=True), 4.5, 16),
        (
            quantised(
                quant_method="bitsandbytes", load_in_4bit=True, bnb_4bit_use_double_quant=True
            ),
            4.126953,
            16,
        ),
        (quantised(quant_method="hqq", quant_config={
            "weight_quant_params": {"nbits": 4, "group_size": 64}}), 4.5, 16),
        (quantised(quant_method="quanto", weights="int8"), 8, 16),
        (quantised(quant_method="torchao", quant_type={"default": {
            "_type": "Int4WeightOnlyConfig", "_data": {"group_size": 64}}}), 4.25, 16),
        (quantised(quant_method="torchao", quant_type="int8_weight_only"), 8, 16),
        (quantised(quant_method="exl3", bits=3.5, head_bits=6), 3.5, 16),
        (quantised(quant_method="quark", global_quant_config={
            "weight": {"dtype": "fp4", "group_size": 32}}, exclude=["lm_head"]), 4.25, 16),
        (quantised(quant_method="modelopt", quant_algo="NVFP4", ignore=["lm_head"]), 4.5, 16),
        (quantised(quant_method="modelopt", quant_algo="W4A16_AWQ"), 4.125, 16),
        (quantised(quant_method="modelopt", quant_algo="FP8"), 8, 16),
        (groups(num_bits=4, type="int", group_size=128), 4.125, 16),
        (groups(num_bits=4, type="int", group_size=32), 4.5, 16),
        (groups(num_bits=8, type="int", strategy="channel"), 8, 16),
        (groups(num_bits=8, type="float"), 8, 16),
        (groups(num_bits=8, type="float", group_size=32), 8.25, 16),
        (groups(num_bits=4, type="float", group_size=16), 4.5, 16),
        (groups(num_bits=4, type="float", group_size=32), 4.25, 16),
        ({"compression_config": groups(num_bits=8, type="float")["quantization_config"]}, 8, 16),
        (
            {"compression_config": {
                "quantization_config": groups(num_bits=8, type="float")["quantization_config"],
                "sparsity_config": {"format": "dense"},
            }}, 8, 16,
        ),
        ({"quantization": {"group_size": 64, "bits": 4}}, 4.5, 4.5),
        ({"quantization_config": {"group_size": 64, "bits": 4}}, 4.5, 4.5),
        ({"quantization": {"group_size": 32, "bits": 8}}, 9, 9),
        ({"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}}, 4.25, 4.25),
        ({"quantization": {"group_size": 64, "bits": 4, "lm_head": {
            "group_size": 64, "bits": 8}}}, 4.5, 8.5),
    ],
)  # fmt: skip
def test_bits_a_weight(given: dict[str, Any], experts: float, head: float) -> None:
    found = bits(given)
    assert (found["experts"], found["head"]) == pytest.approx((experts, head), abs=1e-5)
    assert found["attention"] == found["experts"] or "mxfp4" in str(given)


def test_nested_and_sixteen_bits_where_told() -> None:
    kimi = PUBLISHED["Kimi-K2.5"].config
    assert bits({}, kimi) == {"experts": 4.5, "shared": 16, "attention": 16, "head": 16}
    outer = {**kimi, **groups(num_bits=8, type="float")}
    outer["text_config"] = {
        k: v for k, v in kimi["text_config"].items() if k != "quantization_config"
    }
    assert bits({}, outer)["experts"] == 8


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (groups(num_bits=4, type="int", group_size=32, ignore=("re:.*self_attn.*",)), (4.5, 4.5)),
        (groups(num_bits=8, type="float", ignore=("re:.*shared_experts.*",)), (8, 16)),
        (quantised(quant_method="modelopt", quant_algo="NVFP4", exclude_modules=[
            f"model.layers.{i}.mlp.shared_experts*" for i in range(4)]), (4.5, 16)),
        (quantised(quant_method="modelopt", quant_algo="NVFP4", exclude_modules=[
            "model.layers.0.mlp.shared_experts*", "model.layers.1.mlp.gate"]), (4.5, 4.5)),
        (quantised(quant_method="gptq", bits=4, dynamic={"-:.*shared_expert.*": {}}), (4.125, 16)),
        (quantised(quant_method="modelopt", quant_algo="MIXED_PRECISION", quantized_layers={
            **{f"model.layers.{i}.mlp.experts": {"quant_algo": "NVFP4"} for i in range(4)},
            **{f"model.layers.{i}.mlp.shared_experts": {"quant_algo": "FP8"} for i in range(4)},
        }), (4.5, 8)),
        (quantised(quant_method="compressed-tensors", config_groups={
            "a": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}},
            "b": {"targets": ["re:.*mlp.experts.*"], "weights": {
                "num_bits": 4, "type": "float", "group_size": 16}},
        }), (4.5, 8)),
        ({"quantization": {"group_size": 64, "bits": 4, **{
            f"model.layers.{i}.mlp.shared_experts.{m}_proj": {"group_size": 64, "bits": 6}
            for i in range(4) for m in ("gate", "up", "down")}}}, (4.5, 6.5)),
    ],
)  # fmt: skip
def test_parts_that_differ(given: dict[str, Any], parts: tuple[float, float]) -> None:
    found = bits(given, SHARED)
    assert (found["experts"], found["shared"]) == parts


def test_attention_is_left_where_most_layers_say_so() -> None:
    for named, expected in ((1, 8), (3, 16)):
        left = [f"model.layers.{i}.self_attn.q_proj" for i in range(named)]
        given = quantised(quant_method="fp8", modules_to_not_convert=left)
        assert bits(given, SHARED)["attention"] == expected


def test_the_cache_is_stored_as_told() -> None:
    scheme = {"num_bits": 8, "type": "float"}
    given = groups(num_bits=4, type="int")["quantization_config"] | {"kv_cache_scheme": scheme}
    assert read_hf_config(QWEN | quantised(**given)).precision.kv == "fp8"
    algo = quantised(quant_method="modelopt", quant_algo="NVFP4", kv_cache_quant_algo="NVFP4")
    assert read_hf_config(QWEN | algo).precision.kv == "nvfp4"


@pytest.mark.parametrize(
    ("file", "content", "experts"),
    [
        (
            "hf_quant_config.json",
            {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}},
            4.5,
        ),
        ("quantize_config.json", {"bits": 4, "group_size": 32, "desc_act": True}, 4.5),
        ("quant_config.json", {"zero_point": True, "q_group_size": 128, "w_bit": 4}, 4.125),
    ],
)
def test_what_lies_beside_is_read(
    tmp_path: Path, file: str, content: dict[str, Any], experts: float
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN))
    (tmp_path / file).write_text(json.dumps(content))
    assert 8 * size(load_model(tmp_path).precision.experts) == experts
    (tmp_path / file).write_text("{")
    with pytest.raises(ModelError, match=rf"{file}: not valid JSON"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (quantised(quant_method="aqlm"), "quantization_config: quant_method 'aqlm' with bits None"),
        (quantised(), ""),
        (quantised(quant_method="gptq", bits=4, group_size="x"), "group_size 'x'"),
        (quantised(quant_method="compressed-tensors"), "quant_method 'compressed-tensors'"),
        (quantised(quant_method="compressed-tensors", config_groups=3), "cannot be read"),
        (groups(num_bits=4, type="float", group_size=8), "float numbers of 4 bits in groups of 8"),
        (groups(num_bits=4, type="int", ignore=("re:(",)), "cannot be read"),
        (groups(num_bits=4, type="int", ignore=("re:.*",)), "quantises no part that is known"),
        ({"compression_config": {"format": "odd"}}, "compression_config: quant_method None"),
        ({"quantization_mode": "w4"}, "quantization_mode is not known"),
        ({"torch_dtype": "float4"}, "dtype: 'float4' is none of float32"),
        (quantised(quant_method="modelopt", quant_algo="ODD"), "quant_algo 'ODD'"),
        (quantised(quant_method="fp8", kv_cache_quant_algo="INT3"), "a KV cache in 'INT3'"),
    ],
)
def test_what_cannot_be_read_is_named_and_precision_overrides_it(
    given: dict[str, Any], words: str
) -> None:
    if not words:
        assert bits(given)["experts"] == 16
        return
    with pytest.raises(ModelConfigError) as caught:
        read_hf_config(QWEN | given)
    message = str(caught.value)
    assert words in message
    assert "`precision" in message
    assert len(message) < 400
    assert read_hf_config(QWEN | given, precision="int4").topology == (94, 128, 8)
    with pytest.raises(ModelConfigError):
        read_hf_config(QWEN | given, precision={"kv": "fp8"})


@pytest.mark.parametrize("where", ["model", "trace"])
def test_a_run_overrides_it(tmp_path: Path, where: str) -> None:
    config = QWEN | {"num_hidden_layers": 2} | quantised(quant_method="aqlm")
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = {"synthetic": str(tmp_path), "requests": 1, "prompt": 0, "decode": 1}
    tree: dict[str, Any] = {
        "trace": made,
        "hardware": {"name": "h100-sxm"},
        "cache": {"capacity": {"experts": 8}},
    }
    if where == "model":
        tree["model"] = str(tmp_path)
    with pytest.raises(Exception, match=r"aqlm.*`precision: int4`, say, overrides"):
        load(parse(tree, "my.yaml"))
    assert set(load(parse({**tree, "precision": "int4@4.5"}, "my.yaml")).sizes) == {
        3 * 4096 * 1536 * 9 // 16
    }
