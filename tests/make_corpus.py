"""Writes what tests/corpus lacks of the files that code makes: ``python tests/make_corpus.py``.

A recording of every importer, headers of GGUF files, config.json of several families and
quantisations, a trace in parts. What is there stays, so that a file may be given by hand.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from cli_support import small_trace
from gguf_headers import Tensors, write
from published_configs import PUBLISHED
from recordings import PROMPTS, SHAPE, WRITERS, make_trace

from prefetch_sim.traces.format import read_trace, write_trace

CORPUS = Path(__file__).parent / "corpus"
ONE_PROMPT = ("colibri", "megatron", "moe-trace", "tensorrt-llm")  # passes: a second is in doubt
FAMILIES = (
    "Kimi-Linear-48B-A3B", "Nemotron-3-Nano-30B-A3B", "Qwen3.5-35B-A3B", "dbrx",
    "gemma-4-26B-A4B", "granite-4.0-h-small",
)  # fmt: skip
TINY = {
    "model_type": "qwen3_moe", "num_hidden_layers": 2, "hidden_size": 64, "num_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100,
}  # fmt: skip
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "dynamic": {"-:.*attn.*": {}}}
COMPRESSED = {
    "quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*self_attn.*"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 32}
        }
    },
}  # fmt: skip
MODELOPT = {"producer": {"name": "modelopt"}, "quantization": {
    "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16,
    "exclude_modules": ["lm_head", "model.layers.0.*"],
}}  # fmt: skip
QUANTISED = {
    "gptq": {"quantization_config": GPTQ},
    "compressed": {"quantization_config": COMPRESSED},
    "mlx": {"quantization": {"group_size": 64, "bits": 4, "lm_head": {"bits": 8}}},
}


def main() -> None:
    for name, writer in WRITERS.items():
        path = CORPUS / "importers" / name
        if not (path.exists() or name.startswith("gpt-oss")):
            several = [(3, 2), (2, 2)][: 1 if name in ONE_PROMPT else 2]
            writer(path, make_trace(SHAPE, several if name in PROMPTS else [(0, 4)], seed=3))
    for name in ("csv", "responses"):
        packed = gzip.compress((CORPUS / "importers" / name).read_bytes(), mtime=0)
        new(CORPUS / "importers" / f"{name}.gz", packed)
    for name in FAMILIES:
        new(CORPUS / "model" / f"{name}.json", dumped(PUBLISHED[name].config))
    for name, stored in QUANTISED.items():
        new(CORPUS / "model" / f"{name}.json", dumped(TINY | stored))
    new(CORPUS / "model" / "modelopt" / "config.json", dumped(TINY))
    new(CORPUS / "model" / "modelopt" / "hf_quant_config.json", dumped(MODELOPT))
    for name, (tensors, metadata) in headers().items():
        path = CORPUS / "gguf" / f"{name}.gguf"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write(path, name, metadata, tensors, tokens=3)
    parts = CORPUS / "trace" / "parts"
    if not parts.exists():
        parts.mkdir()
        small_trace(parts / "part-00000.parquet", requests=2, decode=3)
        trace = read_trace(parts / "part-00000.parquet")
        trace.request_id += 2
        write_trace(parts / "part-00001.parquet", trace)


def headers() -> dict[str, tuple[Tensors, dict[str, object]]]:
    """Tensors and metadata of models of grouped and of latent attention, and with a state."""
    experts: Tensors = {
        f"ffn_{part}_exps": ((64, 32, 8) if part != "down" else (32, 64, 8), "Q8_0")
        for part in ("gate", "up", "down")
    }
    grouped: Tensors = {
        "attn_q": ((64, 128), "F16"), "attn_k": ((64, 32), "F16"), "attn_v": ((64, 32), "F16"),
        "attn_output": ((128, 64), "F16"),
    }  # fmt: skip
    latent: Tensors = {
        "attn_q": ((64, 96), "F16"), "attn_kv_a_mqa": ((64, 24), "F16"),
        "attn_kv_b": ((16, 128), "F16"), "attn_output": ((64, 64), "F16"),
    }  # fmt: skip
    state: Tensors = {"ssm_in": ((64, 256), "F16"), "ssm_out": ((128, 64), "F16")}
    counts: dict[str, object] = {"block_count": 2, "expert_used_count": 2}
    heads = {"attention.head_count": 4, "attention.head_count_kv": 1}
    windows = {"attention.sliding_window": 16, "attention.sliding_window_pattern": [True, False]}

    def layers(*mixers: Tensors) -> Tensors:
        found: Tensors = {"token_embd": ((64, 100), "F16"), "output": ((64, 100), "Q8_0")}
        for i, mixer in enumerate(mixers):
            found |= {f"blk.{i}.{name}": tensor for name, tensor in (mixer | experts).items()}
        return found

    return {
        "gpt-oss": (layers(grouped, grouped), counts | heads | windows),
        "deepseek2": (layers(latent, latent), counts | heads | {"rope.dimension_count": 8}),
        "any": (layers(state, grouped), counts | heads | {"ssm.state_size": 16}),
    }


def new(path: Path, content: bytes) -> None:
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def dumped(config: object) -> bytes:
    return json.dumps(config, indent=1).encode()


if __name__ == "__main__":
    main()
