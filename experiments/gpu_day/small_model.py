"""Makes a model folder of a real architecture with random weights, and prompts: no download."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

PROMPTS, LENGTH = 8, 32
# OLMoE's own widths; four layers are enough to time.
REAL = {
    "hidden_size": 2048, "intermediate_size": 1024, "num_attention_heads": 16,
    "num_key_value_heads": 16, "num_experts": 64, "num_experts_per_tok": 8, "vocab_size": 50304,
    "num_hidden_layers": 4,
}  # fmt: skip
TOY = {
    "hidden_size": 32, "intermediate_size": 16, "num_attention_heads": 2,
    "num_key_value_heads": 2, "num_experts": 8, "num_experts_per_tok": 2, "vocab_size": 128,
    "num_hidden_layers": 2,
}  # fmt: skip


def make(folder: Path, device: str, *, toy: bool) -> None:
    """Write the model in bf16 to ``folder``, and prompts.jsonl into it."""
    import torch
    from transformers import OlmoeConfig, OlmoeForCausalLM

    torch.manual_seed(0)
    size = TOY if toy else REAL
    config = OlmoeConfig(**size, pad_token_id=0, eos_token_id=None, dtype="bfloat16")
    with torch.device(device):  # where its numbers are drawn
        model = OlmoeForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    drawn = torch.randint(2, size["vocab_size"], (PROMPTS, LENGTH)).tolist()
    lines = [json.dumps({"tokens": tokens}) for tokens in drawn]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true")
    asked = parser.parse_args()
    make(asked.folder, asked.device, toy=asked.toy)
