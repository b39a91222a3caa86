"""What config.json of published models says of their shape; lists by layer are written short.

Only the keys that a shape needs. None of these is a copy of a file: they are written down from
what is known of the models, and held against sizes that do not come from this code: bytes of
experts, and parameters as the makers state them (to the digits given), as headers of weights have
them (Qwen3-Next, Nemotron-3-Super), or, where makers round, as transformers' class of that shape
has them (Llama-4-Scout, gemma-4, Jamba, ERNIE, MiniMax-M2, MiMo, dbrx, Qwen3.5, Kimi-Linear).
"""

from __future__ import annotations

from typing import Any, NamedTuple

Config = dict[str, Any]


class Published(NamedTuple):
    config: Config
    expert_mb: float  # as published
    billions: float  # parameters, of text and without multi-token prediction
    topology: tuple[int, int, int]


_FP8 = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}


def _gqa(layers: int, hidden: int, heads: int, kv_heads: int, dim: int, vocab: int) -> Config:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": dim,
        "vocab_size": vocab,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


_KIMI_K2: Config = {
    "model_type": "kimi_k2",
    **_gqa(61, 7168, 64, 64, 112, 163840),
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 384,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
_DEEPSEEK = {
    **_KIMI_K2,
    "model_type": "deepseek_v3",
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_routed_experts": 256,
    "first_k_dense_replace": 3,
    "vocab_size": 129280,
}
_KIMI_INT4 = {
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"group_size": 32, "num_bits": 4, "strategy": "group", "type": "int"},
        }
    },
    "format": "pack-quantized",
    "ignore": [
        "lm_head",
        "re:.*self_attn.*",
        "re:.*shared_experts.*",
        "re:.*mlp\\.(gate|up|gate_up|down)_proj.*",
    ],
    "kv_cache_scheme": None,
    "quant_method": "compressed-tensors",
}
_DELTA_NET = {
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "full_attention_interval": 4,
}
_MAMBA = {"mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8, "mlp_hidden_act": "relu2"}

PUBLISHED: dict[str, Published] = {
    "Kimi-K2-Instruct": Published(_KIMI_K2 | _FP8, 44.04, 1026.4, (60, 384, 8)),
    "Kimi-K2.5": Published(
        {
            "model_type": "kimi_k25",
            "tie_word_embeddings": False,
            "text_config": {**_KIMI_K2, "quantization_config": _KIMI_INT4},
            "vision_config": {"vt_num_hidden_layers": 27},
        },
        24.77,
        1026.4,
        (60, 384, 8),
    ),
    "DeepSeek-V3": Published(_DEEPSEEK | _FP8, 44.04, 671.0, (58, 256, 8)),
    "DeepSeek-V3.2": Published(
        _DEEPSEEK | _FP8 | {"model_type": "deepseek_v32", "index_topk": 2048}, 44.04, 671.9,
        (58, 256, 8),
    ),
    "MiniMax-M2": Published(
        {
            "model_type": "minimax_m2",
            **_gqa(62, 3072, 48, 8, 128, 200064),
            "intermediate_size": 1536,
            "num_local_experts": 256,
            "num_experts_per_tok": 8,
            "attn_type_list": [1] * 62,
            **_FP8,
        },
        14.16,
        228.7,
        (62, 256, 8),
    ),
    "Qwen3.5-35B-A3B": Published(
        {
            "model_type": "qwen3_5_moe",
            "tie_word_embeddings": False,
            "text_config": {
                "model_type": "qwen3_5_moe_text",
                **_gqa(40, 2048, 16, 2, 256, 248320),
                **_DELTA_NET,
                "layer_types": [*["linear_attention"] * 3, "full_attention"] * 10,
                "moe_intermediate_size": 512,
                "shared_expert_intermediate_size": 512,
                "num_experts": 256,
                "num_experts_per_tok": 8,
            },
        },
        6.29,
        34.66,
        (40, 256, 8),
    ),
    "Qwen3-Next-80B-A3B": Published(
        {
            "model_type": "qwen3_next",
            **_gqa(48, 2048, 16, 2, 256, 151936),
            **_DELTA_NET,
            "decoder_sparse_step": 1,
            "intermediate_size": 5120,
            "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
            "num_experts": 512,
            "num_experts_per_tok": 10,
        },
        6.29,
        79.674391296,
        (48, 512, 10),
    ),
    "Llama-4-Scout": Published(
        {
            "model_type": "llama4",
            "text_config": {
                "model_type": "llama4_text",
                **_gqa(48, 5120, 40, 8, 128, 202048),
                "attention_chunk_size": 8192,
                "interleave_moe_layer_step": 1,
                "intermediate_size": 8192,
                "intermediate_size_mlp": 16384,
                "num_local_experts": 16,
                "num_experts_per_tok": 1,
            },
            "vision_config": {"hidden_size": 1408, "num_hidden_layers": 34},
        },
        251.66,
        107.77,
        (48, 16, 1),
    ),
    "Llama-4-Maverick": Published(
        {
            "model_type": "llama4",
            "text_config": {
                "model_type": "llama4_text",
                **_gqa(48, 5120, 40, 8, 128, 202048),
                "attention_chunk_size": 8192,
                "interleave_moe_layer_step": 2,
                "intermediate_size": 8192,
                "intermediate_size_mlp": 16384,
                "num_local_experts": 128,
                "num_experts_per_tok": 1,
            },
        },
        251.66,
        400,
        (24, 128, 1),
    ),
    "gemma-4-26B-A4B": Published(
        {
            "model_type": "gemma4",
            "text_config": {
                "model_type": "gemma4_text",
                **_gqa(30, 2816, 16, 8, 256, 262144),
                "tie_word_embeddings": True,
                "attention_k_eq_v": True,
                "enable_moe_block": True,
                "global_head_dim": 512,
                "num_global_key_value_heads": 2,
                "hidden_size_per_layer_input": 0,
                "num_kv_shared_layers": 0,
                "intermediate_size": 2112,
                "moe_intermediate_size": 704,
                "num_experts": 128,
                "top_k_experts": 8,
                "sliding_window": 1024,
                "layer_types": [*["sliding_attention"] * 5, "full_attention"] * 5,
            },
        },
        11.89,
        25.23,
        (30, 128, 8),
    ),
    "Nemotron-3-Nano-30B-A3B": Published(
        {
            "model_type": "nemotron_h",
            **_gqa(52, 2688, 32, 2, 128, 131072),
            **_MAMBA,
            "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
            "intermediate_size": 1856,
            "mamba_num_heads": 64,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 6,
            "moe_intermediate_size": 1856,
            "moe_shared_expert_intermediate_size": 3712,
        },
        19.96,
        31.58,
        (23, 128, 6),
    ),
    "Nemotron-3-Super-120B-A12B": Published(
        {
            "model_type": "nemotron_h",
            **_gqa(88, 4096, 32, 2, 128, 131072),
            **_MAMBA,
            "hybrid_override_pattern": "MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*"
            "EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME",
            "mamba_num_heads": 128,
            "n_routed_experts": 512,
            "n_shared_experts": 1,
            "num_experts_per_tok": 22,
            "moe_latent_size": 1024,
            "moe_intermediate_size": 2688,
            "moe_shared_expert_intermediate_size": 5376,
        },
        11.01,
        120.669,
        (40, 512, 22),
    ),
    "granite-4.0-h-small": Published(
        {
            "model_type": "granitemoehybrid",
            **_gqa(40, 4096, 32, 8, 128, 100352),
            "tie_word_embeddings": True,
            "layer_types": [*["mamba"] * 5, "attention", *["mamba"] * 4] * 4,
            "intermediate_size": 768,
            "shared_intermediate_size": 1536,
            "num_local_experts": 72,
            "num_experts_per_tok": 10,
            "mamba_n_heads": 128,
            "mamba_d_head": 64,
            "mamba_d_state": 128,
            "mamba_n_groups": 1,
        },
        18.87,
        32.2,
        (40, 72, 10),
    ),
    "ERNIE-4.5-21B-A3B": Published(
        {
            "model_type": "ernie4_5_moe",
            **_gqa(28, 2560, 20, 4, 128, 103424),
            "tie_word_embeddings": True,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "moe_num_experts": 64,
            "moe_num_shared_experts": 2,
            "moe_k": 6,
            "moe_layer_start_index": 1,
            "moe_layer_end_index": 27,
            "moe_layer_interval": 1,
        },
        23.59,
        21.83,
        (27, 64, 6),
    ),
    "Hunyuan-A13B": Published(
        {
            "model_type": "hunyuan_v1_moe",
            **_gqa(32, 4096, 32, 8, 128, 128167),
            "tie_word_embeddings": True,
            "intermediate_size": 3072,
            "moe_intermediate_size": [3072] * 32,
            "moe_topk": [8] * 32,
            "num_experts": 64,
            "num_shared_expert": [1] * 32,
            "use_mixed_mlp_moe": True,
        },
        75.50,
        80.4,
        (32, 64, 8),
    ),
    "dots.llm1": Published(
        {
            "model_type": "dots1",
            **_gqa(62, 4096, 32, 32, 128, 152064),
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "first_k_dense_replace": 1,
            "n_routed_experts": 128,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
        },
        34.60,
        142.8,
        (61, 128, 6),
    ),
    "Ling-lite": Published(
        {
            "model_type": "bailing_moe",
            **_gqa(28, 2048, 16, 4, 128, 126464),
            "intermediate_size": 5632,
            "moe_intermediate_size": 1408,
            "first_k_dense_replace": 0,
            "num_experts": 64,
            "num_shared_experts": 2,
            "num_experts_per_tok": 6,
        },
        17.30,
        16.8,
        (28, 64, 6),
    ),
    "Jamba-v0.1": Published(
        {
            "model_type": "jamba",
            **_gqa(32, 4096, 32, 8, 128, 65536),
            "intermediate_size": 14336,
            "num_experts": 16,
            "num_experts_per_tok": 2,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "attn_layer_period": 8,
            "attn_layer_offset": 4,
            "mamba_d_state": 16,
            "mamba_expand": 2,
            "mamba_dt_rank": 256,
        },
        352.32,
        51.57,
        (16, 16, 2),
    ),
    "dbrx": Published(
        {
            "model_type": "dbrx",
            "attn_config": {"kv_n_heads": 8},
            "d_model": 6144,
            "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
            "n_heads": 48,
            "n_layers": 40,
            "vocab_size": 100352,
        },
        396.36,
        131.6,
        (40, 16, 4),
    ),
    "MiMo-V2-Flash": Published(
        {
            "model_type": "mimo_v2_flash",
            **_gqa(48, 4096, 64, 4, 192, 152576),
            "v_head_dim": 128,
            "swa_num_attention_heads": 64,
            "swa_num_key_value_heads": 8,
            "swa_head_dim": 192,
            "swa_v_head_dim": 128,
            "sliding_window": 128,
            "hybrid_layer_pattern": [int(i != 0 and (i + 1) % 6 != 0) for i in range(48)],
            "moe_layer_freq": [0] + [1] * 47,
            "intermediate_size": 16384,
            "moe_intermediate_size": 2048,
            "n_routed_experts": 256,
            "num_experts_per_tok": 8,
        },
        50.33,
        308.8,
        (47, 256, 8),
    ),
    "Kimi-Linear-48B-A3B": Published(
        {
            "model_type": "kimi_linear",
            **_gqa(27, 2304, 32, 32, 72, 163840),
            "intermediate_size": 9216,
            "moe_intermediate_size": 1024,
            "first_k_dense_replace": 1,
            "moe_layer_freq": 1,
            "num_experts": 256,
            "num_shared_experts": 1,
            "num_experts_per_token": 8,
            "kv_lora_rank": 512,
            "q_lora_rank": None,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "linear_attn_config": {
                "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
                "head_dim": 128,
                "num_heads": 32,
                "short_conv_kernel_size": 4,
            },
        },
        14.16,
        49.1,
        (26, 256, 8),
    ),
    "MiniMax-Text-01": Published(
        {
            "model_type": "minimax_text_01",
            **_gqa(80, 6144, 64, 8, 128, 200064),
            "attn_type_list": [*[0] * 7, 1] * 10,
            "intermediate_size": 9216,
            "num_local_experts": 32,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 0,
        },
        339.74,
        456,
        (80, 32, 2),
    ),
    "Qwen3-235B-A22B": Published(
        {
            "model_type": "qwen3_moe",
            **_gqa(94, 4096, 64, 4, 128, 151936),
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
        37.749,
        235.09,
        (94, 128, 8),
    ),
    "Mixtral-8x22B": Published(
        {
            "model_type": "mixtral",
            **_gqa(56, 6144, 48, 8, 128, 32768),
            "intermediate_size": 16384,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
        603.980,
        140.62,
        (56, 8, 2),
    ),
    "GLM-4.5-Air": Published(
        {
            "model_type": "glm4_moe",
            **_gqa(46, 4096, 96, 8, 128, 151552),
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "first_k_dense_replace": 1,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
        },
        34.603,
        106.85,
        (45, 128, 8),
    ),
    "Qwen1.5-MoE-A2.7B": Published(
        {
            "model_type": "qwen2_moe",
            **_gqa(24, 2048, 16, 16, 128, 151936),
            "intermediate_size": 5632,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "num_experts": 60,
            "num_experts_per_tok": 4,
        },
        17.302,
        14.32,
        (24, 60, 4),
    ),
    "granite-3.1-3b-a800m": Published(
        {
            "model_type": "granitemoe",
            **_gqa(32, 1536, 24, 8, 64, 49155),
            "tie_word_embeddings": True,
            "intermediate_size": 512,
            "num_local_experts": 40,
            "num_experts_per_tok": 8,
        },
        4.719,
        3.30,
        (32, 40, 8),
    ),
}  # fmt: skip
