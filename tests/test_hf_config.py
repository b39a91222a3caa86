"""Shapes read from config.json: known models, the irregular layers, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from prefetch_sim.traces.models.hf_config import ModelConfigError, read_hf_config
from prefetch_sim.traces.models.spec import GroupedQueryAttention, LatentAttention

DEEPSEEK_V2_LITE: dict[str, Any] = {
    "model_type": "deepseek_v2",
    "_name_or_path": "deepseek-ai/DeepSeek-V2-Lite",
    "num_hidden_layers": 27,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 102400,
}
GPT_OSS_20B: dict[str, Any] = {
    "model_type": "gpt_oss",
    "num_hidden_layers": 24,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_local_experts": 32,
    "experts_per_token": 4,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "vocab_size": 201088,
    "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": []},
}
QWEN2_MOE: dict[str, Any] = {
    "model_type": "qwen2_moe",
    "num_hidden_layers": 8,
    "hidden_size": 64,
    "intermediate_size": 256,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 128,
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "decoder_sparse_step": 2,
    "mlp_only_layers": [3],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}


def test_deepseek_v2_lite() -> None:
    model = read_hf_config(DEEPSEEK_V2_LITE)
    assert model.name == "DeepSeek-V2-Lite"
    assert model.topology == (26, 64, 6)
    assert model.dense_layers == (0,)
    assert (model.shared_experts, model.shared_hidden, model.dense_hidden) == (2, 1408, 10944)
    assert isinstance(model.attention, LatentAttention)
    assert model.attention.q_rank is None
    assert model.bytes_per_expert() == (3 * 2048 * 1408 * 2,) * 26


def test_deepseek_v3_is_fp8_and_every_other_layer_can_be_dense() -> None:
    changed = DEEPSEEK_V2_LITE | {
        "model_type": "deepseek_v3",
        "num_hidden_layers": 6,
        "moe_layer_freq": 2,
        "q_lora_rank": 1536,
        "quantization_config": {"quant_method": "fp8"},
    }
    model = read_hf_config(changed, "v3")
    assert model.name == "v3"
    assert model.dense_layers == (0, 1, 3, 5)
    assert model.precision.experts == model.precision.attention == "fp8"
    assert isinstance(model.attention, LatentAttention)
    assert model.attention.q_rank == 1536


def test_gpt_oss_20b() -> None:
    model = read_hf_config(GPT_OSS_20B, "gpt-oss-20b")
    assert model.topology == (24, 32, 4)
    assert str(model.precision) == "mxfp4"
    assert model.expert_biases
    assert model.attention == GroupedQueryAttention(
        heads=64, kv_heads=8, head_dim=64, sliding_window=128
    )


def test_qwen2_moe_layers_and_shared_expert() -> None:
    model = read_hf_config(QWEN2_MOE)
    assert model.moe_layer_indices == (1, 5, 7)
    assert (model.shared_experts, model.shared_hidden, model.dense_hidden) == (1, 128, 256)
    assert isinstance(model.attention, GroupedQueryAttention)
    assert model.attention.head_dim == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type 'llama' is not supported; known: afmoe"),
        ({"num_experts": None}, "num_experts is missing"),
        ({"num_experts_per_tok": 17}, "top_k 17 exceeds experts 16"),
        ({"hidden_size": "64"}, "hidden_size: '64' is not a positive whole number"),
        ({"decoder_sparse_step": 0.5}, "decoder_sparse_step: 0.5 is not"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 9}}, "int numbers of 9 bits"),
        ({"mlp_only_layers": [1, 3, 5, 7]}, "no layer routes"),
        ({"mlp_only_layers": 3}, "mlp_only_layers: 3 is not a list"),
        ({"quantization_config": "fp8"}, "quantization_config: 'fp8' is not a mapping"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelConfigError) as caught:
        read_hf_config(QWEN2_MOE | change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_four_bit_gptq_and_other_windows() -> None:
    quantised = QWEN2_MOE | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    assert str(read_hf_config(quantised).precision) == "experts int4, shared int4, attention int4"
    plain = read_hf_config(GPT_OSS_20B | {"layer_types": ["full_attention"] * 24}).mixers
    assert [window for _, window in plain] == [None] * 24
    turned = {"layer_types": ["full_attention", "sliding_attention"] * 12}
    assert [w for _, w in read_hf_config(GPT_OSS_20B | turned).mixers] == [None, 128] * 12
    with pytest.raises(ModelConfigError, match="layer_types: 24 is not a list"):
        read_hf_config(GPT_OSS_20B | {"layer_types": 24})


@pytest.mark.parametrize(
    ("class_name", "topology"),
    [
        ("DeepseekV2Config", (32, 64, 6)),
        ("DeepseekV3Config", (58, 256, 8)),
        ("Qwen2MoeConfig", (24, 60, 4)),
        ("Qwen3MoeConfig", (24, 128, 8)),
        ("PhimoeConfig", (32, 16, 2)),
        ("MixtralConfig", (32, 8, 2)),
        ("OlmoeConfig", (16, 64, 8)),
        ("GptOssConfig", (36, 128, 4)),
        ("GraniteMoeConfig", (32, 8, 2)),
    ],
)
def test_transformers_defaults(class_name: str, topology: tuple[int, int, int]) -> None:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, class_name)().to_dict()
    if config["num_experts_per_tok"] is None:  # DeepSeek-V2's default leaves it open
        config["num_experts_per_tok"] = 6
    assert read_hf_config(config).topology == topology
