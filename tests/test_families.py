"""Families of models: sizes as published, and as transformers builds the class."""

from __future__ import annotations

import re
from typing import Any

import pytest
from published_configs import PUBLISHED

from prefetch_sim.traces.models.hf_config import ModelConfigError, read_hf_config
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.models.weights import Weights


def parameters(model: ModelSpec) -> float:
    weights = Weights.of(model, "f32")
    return (sum(weights.experts) * model.experts + weights.beside_experts) / 4


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_as_published(name: str) -> None:
    known = PUBLISHED[name]
    model = read_hf_config(known.config, name)
    assert model.topology == known.topology
    sizes = model.bytes_per_expert()
    assert sizes[0] / 1e6 == pytest.approx(known.expert_mb, abs=0.006)
    assert len(set(sizes)) == 1
    assert parameters(model) / 1e9 == pytest.approx(known.billions, rel=0.01)


# By model_type, what differs from the defaults of transformers' class, so that it has experts.
_PLAIN = """afmoe aria aria_text axk1 bailing_hybrid cohere2_moe deepseek_v3 deepseek_v32
    ernie4_5_moe exaone_moe flex_olmo glm4_moe glm4_moe_lite glm4v_moe glm_moe_dsa gpt_oss
    granitemoe granitemoeshared granitemoe_swa hy_v3 jamba kimi_k25 kimi_linear laguna llama4
    mellum mimo_v2_flash minimax minimax_m2 minimax_m3_vl mistral4 mixtral olmoe phimoe
    qwen2_moe qwen3_moe qwen3_next qwen3_5_moe qwen3_vl_moe solar_open step3p7"""
BUILT: dict[str, dict[str, Any]] = {
    **{family: {} for family in _PLAIN.split()},
    "deepseek_v2": {"num_experts_per_tok": 6, "moe_intermediate_size": 1408},
    "dots1": {"n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6},
    "gemma4_text": {
        "enable_moe_block": True,
        "num_experts": 128,
        "top_k_experts": 8,
        "moe_intermediate_size": 704,
        "hidden_size_per_layer_input": 0,
        "num_kv_shared_layers": 0,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 2,
        "global_head_dim": 512,
    },
    "granitemoehybrid": {
        "layer_types": [*["linear_attention"] * 5, "full_attention", *["linear_attention"] * 2] * 4,
    },
    "hunyuan_v1_moe": {"num_experts": 8, "moe_topk": 2, "head_dim": 128},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"] * 8},
    "nemotron_h": {
        "moe_latent_size": 1024,
        "layers_block_type": ["linear_attention", "moe", "full_attention", "moe", "mlp"] * 4,
    },
}
# Whose text alone transformers builds only together with the rest.
_WHOLE = ("aria", "glm4v_moe", "kimi_k25", "llama4", "minimax_m3_vl", "qwen3_vl_moe", "step3p7")
_OTHER = re.compile("visual|vision|projector|mtp|patch")


@pytest.mark.parametrize("family", sorted(BUILT))
def test_totals_are_those_of_the_class(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    if family not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {family}")
    config = transformers.CONFIG_MAPPING[family](**BUILT[family])
    extra = 0
    with torch.device("meta"):
        if family in _WHOLE:
            built = transformers.AutoModelForImageTextToText.from_config(config)
        elif family == "mistral4":  # without its head
            built = transformers.AutoModel.from_config(config)
            extra = config.vocab_size * config.hidden_size
        else:
            built = transformers.AutoModelForCausalLM.from_config(config.get_text_config())
    total = extra + sum(
        values.numel() for name, values in built.named_parameters() if not _OTHER.search(name)
    )
    assert parameters(read_hf_config(config.to_dict())) == pytest.approx(total, rel=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "deepseek_v4"}, "'deepseek_v4' is not supported: its attention over compr"),
        ({"model_type": "jetmoe"}, "'jetmoe' is not supported: its attention has experts too"),
        ({"model_type": "mimo"}, "'mimo' is not supported; known: afmoe, arctic, aria, "),
        ({"model_type": "qwen3", "num_experts": None}, "known: afmoe"),
        ({"model_type": ["a"] * 1000}, "model_type a list of 1000 is not supported; known: afmoe"),
        ({"model_type": "x" * 1000}, "…' is not supported; known: afmoe"),
        ({"moe_intermediate_size": [1, 2]}, "moe_intermediate_size: [1, 2] is not a positive"),
        ({"layer_types": ["odd"] * 94}, "layer_types: 'odd' is none of full_attention"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 of 94 layers"),
        ({"num_experts": 32_768}, "experts: Input should be less than or equal to 32767"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: more than 1,000"),
    ],
)
def test_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelConfigError) as caught:
        read_hf_config(PUBLISHED["Qwen3-235B-A22B"].config | change)
    message = str(caught.value)
    assert words in message
    assert len(message) < 400
    assert "did you mean" not in message


def test_a_model_without_experts_is_told_so() -> None:
    with pytest.raises(ModelConfigError, match=r"'llama' is not supported \(and it states no exp"):
        read_hf_config({"model_type": "llama", "hidden_size": 4096})


def test_lists_by_layer_that_differ_are_refused() -> None:
    config = PUBLISHED["Hunyuan-A13B"].config | {"moe_topk": [8] * 31 + [4]}
    with pytest.raises(ModelConfigError, match="moe_topk: layers that differ are not supported"):
        read_hf_config(config)


def test_tied_embeddings_are_counted_once() -> None:
    config = PUBLISHED["granite-3.1-3b-a800m"].config
    tied, apart = (
        Weights.of(read_hf_config(config | {"tie_word_embeddings": own})) for own in (True, False)
    )
    assert apart.beside_experts - tied.beside_experts == 2 * 49155 * 1536
    assert tied.head == apart.head
    # A config.json leaves out what is the class's default.
    bare = {k: v for k, v in config.items() if k != "tie_word_embeddings"}
    assert not read_hf_config(bare).tied_embeddings
    gemma = PUBLISHED["gemma-4-26B-A4B"].config["text_config"]
    assert read_hf_config({k: v for k, v in gemma.items() if k[:3] != "tie"}).tied_embeddings


def test_layers_attend_as_they_are_told() -> None:
    def kinds(name: str) -> list[tuple[str, int | None]]:
        mixers = read_hf_config(PUBLISHED[name].config).mixers
        return [(mixer.kind, window) for mixer, window in mixers]

    assert kinds("gemma-4-26B-A4B")[:12] == [*[("gqa", 1024)] * 5, ("gqa", None)] * 2
    assert kinds("Llama-4-Scout")[:4] == [*[("gqa", 8192)] * 3, ("gqa", None)]
    assert kinds("Qwen3-Next-80B-A3B")[:4] == [*[("recurrent", None)] * 3, ("gqa", None)]
    assert [k for k, _ in kinds("Nemotron-3-Nano-30B-A3B")[:6]] == [
        "recurrent", "none", "recurrent", "none", "recurrent", "gqa",
    ]  # fmt: skip
    linear = kinds("Kimi-Linear-48B-A3B")
    assert [i + 1 for i, (kind, _) in enumerate(linear) if kind == "mla"] == [
        4, 8, 12, 16, 20, 24, 27,
    ]  # fmt: skip
    assert kinds("Qwen3-235B-A22B") == [("gqa", None)] * 94
