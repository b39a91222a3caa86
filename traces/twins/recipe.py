"""Every choice that makes each twin, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Training:
    """Of the language model."""

    steps: int = 600
    batch: int = 8
    length: int = 256
    peak_rate: float = 1.5e-3
    warmup: int = 60
    weight_decay: float = 0.1
    balance: float = 0.01
    evaluate_every: int = 100
    evaluate_windows: int = 24
    checkpoint_seconds: float = 120.0
    seed: int = 0


@dataclass(frozen=True)
class Sampling:
    """Of the trace, and of the text that predictors learn from."""

    requests: int = 48
    kept: int | None = None  # of them, in the bundled trace: the first, whole rounds of the domains
    batch: int = 24
    prompt: int = 32
    new_tokens: int = 128
    temperature: float = 0.8
    predictor_windows: int = 240  # of the training length, teacher-forced
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """``family`` is transformers' prefix, ``config`` what its config class is given."""

    name: str
    like: str
    family: str
    config: dict[str, Any]
    extra: int  # experts named beyond top-k, as the paper over-provisions
    vocab: int = 4096
    small: bool = False
    training: Training = field(default_factory=Training)
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def topology(self) -> tuple[int, int]:
        """(experts a layer, top-k)."""
        names = ("num_local_experts", "num_experts", "n_routed_experts")
        experts = next(self.config[name] for name in names if name in self.config)
        return experts, self.config["num_experts_per_tok"]

    def with_steps(self, steps: int) -> Recipe:
        return replace(self, training=replace(self.training, steps=steps))


# The topologies of the three models of arXiv 2511.10676, and of gpt-oss-20b.
TWINS = (
    Recipe(
        name="mini-deepseek-v2-lite",
        like="deepseek-v2-lite",
        family="DeepseekV2",
        config={
            "num_hidden_layers": 27,
            "first_k_dense_replace": 1,
            "n_routed_experts": 64,
            "num_experts_per_tok": 6,
            "n_shared_experts": 2,
            "hidden_size": 128,
            "intermediate_size": 256,
            "moe_intermediate_size": 32,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "kv_lora_rank": 32,
            "q_lora_rank": None,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 16,
            "v_head_dim": 32,
            "topk_method": "greedy",
        },
        extra=4,
        training=Training(steps=500),
        sampling=Sampling(requests=96, kept=18),
    ),
    Recipe(
        name="mini-qwen3-30b-a3b",
        like="qwen3-30b-a3b",
        family="Qwen3Moe",
        config={
            "num_hidden_layers": 48,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "norm_topk_prob": True,
            "hidden_size": 96,
            "intermediate_size": 192,
            "moe_intermediate_size": 16,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 32,
        },
        extra=4,
        training=Training(steps=320),
        sampling=Sampling(requests=42, kept=12),
    ),
    Recipe(
        name="mini-phi-mini-moe",
        like="phi-mini-moe",
        family="Phimoe",
        config={
            "num_hidden_layers": 32,
            "num_local_experts": 16,
            "num_experts_per_tok": 2,
            "hidden_size": 128,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
        },
        extra=1,
        training=Training(steps=450),
        sampling=Sampling(requests=192, kept=36),
    ),
    Recipe(
        name="mini-gpt-oss",
        like="gpt-oss-20b",
        family="GptOss",
        config={
            "num_hidden_layers": 24,
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
            "hidden_size": 128,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "sliding_window": 128,
        },
        extra=2,
        sampling=Sampling(kept=20),
    ),
)

# Every stage in a few seconds, on text that Python itself brings; its figures mean nothing.
SMALL = Recipe(
    name="tiny-deepseek",
    like="deepseek-v2-lite",
    family="DeepseekV2",
    small=True,
    config={
        "num_hidden_layers": 5,
        "first_k_dense_replace": 1,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "kv_lora_rank": 16,
        "q_lora_rank": None,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
        "topk_method": "greedy",
    },
    extra=1,
    vocab=512,
    training=Training(steps=6, batch=4, length=48, warmup=2, evaluate_every=3, evaluate_windows=4),
    sampling=Sampling(requests=6, kept=4, batch=3, prompt=12, new_tokens=20, predictor_windows=16),
)
