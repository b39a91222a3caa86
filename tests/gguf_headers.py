"""Headers of GGUF files, made by the package gguf: no data follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# By name: columns, rows and experts, and the type.
Tensors = dict[str, tuple[tuple[int, ...], str]]


def write(
    path: Path, architecture: str, metadata: dict[str, Any], tensors: Tensors, tokens: int = 1000
) -> Path:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_token_list([f"token {i}" for i in range(tokens)])
    for key, value in metadata.items():
        name = key if key.startswith("general") else f"{architecture}.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        else:
            writer.add_uint32(name, value)
    for name, (shape, kind) in tensors.items():
        of = gguf.GGMLQuantizationType[kind]
        block, nbytes = gguf.GGML_QUANT_SIZES[of]
        rows = tuple(reversed(shape))
        stored = (*rows[:-1], rows[-1] * nbytes // block)
        size = int(np.prod(stored))
        writer.add_tensor_info(f"{name}.weight", stored, np.dtype(np.uint8), size, of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path


def qwen3(path: Path) -> Path:
    """Qwen3-30B-A3B in Q4_K_M."""
    tensors: Tensors = {"token_embd": ((2048, 151936), "Q4_K"), "output": ((2048, 151936), "Q6_K")}
    for i in range(48):
        more = "Q6_K" if i < 6 or i >= 42 or (i - 6) % 3 == 2 else "Q4_K"
        tensors |= {
            f"blk.{i}.attn_norm": ((2048,), "F32"),
            f"blk.{i}.attn_q": ((2048, 4096), "Q4_K"),
            f"blk.{i}.attn_k": ((2048, 512), "Q4_K"),
            f"blk.{i}.attn_v": ((2048, 512), more),
            f"blk.{i}.attn_output": ((4096, 2048), "Q4_K"),
            f"blk.{i}.ffn_gate_inp": ((2048, 128), "F32"),
            f"blk.{i}.ffn_gate_exps": ((2048, 768, 128), "Q4_K"),
            f"blk.{i}.ffn_up_exps": ((2048, 768, 128), "Q4_K"),
            f"blk.{i}.ffn_down_exps": ((768, 2048, 128), more),
        }
    metadata = {
        "block_count": 48,
        "expert_used_count": 8,
        "attention.head_count": 32,
        "attention.head_count_kv": 4,
        "attention.key_length": 128,
    }
    return write(path, "qwen3moe", metadata, tensors)


def gpt_oss(path: Path) -> Path:
    """gpt-oss-20b, whose experts are as they were published."""
    tensors: Tensors = {"token_embd": ((2880, 201088), "Q8_0"), "output": ((2880, 201088), "Q8_0")}
    for i in range(24):
        tensors |= {
            f"blk.{i}.attn_q": ((2880, 4096), "Q8_0"),
            f"blk.{i}.attn_k": ((2880, 512), "Q8_0"),
            f"blk.{i}.attn_v": ((2880, 512), "Q8_0"),
            f"blk.{i}.attn_output": ((4096, 2880), "Q8_0"),
            f"blk.{i}.ffn_gate_inp": ((2880, 32), "F32"),
            f"blk.{i}.ffn_gate_exps": ((2880, 2880, 32), "MXFP4"),
            f"blk.{i}.ffn_up_exps": ((2880, 2880, 32), "MXFP4"),
            f"blk.{i}.ffn_down_exps": ((2880, 2880, 32), "MXFP4"),
        }
    metadata = {
        "block_count": 24,
        "expert_used_count": 4,
        "attention.head_count": 64,
        "attention.head_count_kv": 8,
        "attention.sliding_window": 128,
    }
    return write(path, "gpt-oss", metadata, tensors)


def deepseek_v2_lite(path: Path) -> Path:
    """DeepSeek-V2-Lite in Q8_0: a dense layer, shared experts, latent attention."""
    tensors: Tensors = {"token_embd": ((2048, 102400), "Q8_0"), "output": ((2048, 102400), "Q8_0")}
    for i in range(27):
        tensors |= {
            f"blk.{i}.attn_q": ((2048, 3072), "Q8_0"),
            f"blk.{i}.attn_kv_a_mqa": ((2048, 576), "Q8_0"),
            f"blk.{i}.attn_kv_b": ((512, 4096), "Q8_0"),
            f"blk.{i}.attn_output": ((2048, 2048), "Q8_0"),
        }
        kinds = [("", 10944, 0)] if i == 0 else [("_exps", 1408, 64), ("_shexp", 2816, 0)]
        for suffix, width, experts in kinds:
            more = (experts,) if experts else ()
            tensors |= {
                f"blk.{i}.ffn_gate{suffix}": ((2048, width, *more), "Q8_0"),
                f"blk.{i}.ffn_up{suffix}": ((2048, width, *more), "Q8_0"),
                f"blk.{i}.ffn_down{suffix}": ((width, 2048, *more), "Q8_0"),
            }
    metadata = {
        "block_count": 27,
        "expert_used_count": 6,
        "expert_shared_count": 2,
        "attention.head_count": 16,
        "rope.dimension_count": 64,
    }
    return write(path, "deepseek2", metadata, tensors)
