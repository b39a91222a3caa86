"""GGUF files: shapes and sizes by tensor from headers that the package gguf wrote."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from gguf_headers import deepseek_v2_lite, gpt_oss, qwen3, write

from prefetch_sim.sim.config.models import ModelError, load_model
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.models.weights import Weights

HAS_GGUF = pytest.mark.skipif(find_spec("gguf") is None, reason="needs the package gguf")


def bare(model: ModelSpec) -> ModelSpec:
    return ModelSpec.model_validate(
        model.model_dump(exclude={"name", "precision", "expert_bytes"}) | {"name": ""}
    )


@HAS_GGUF
@pytest.mark.parametrize(
    ("make", "name", "mix"),
    [
        (qwen3, "qwen3-30b-a3b", "Q4_K_M"),
        (gpt_oss, "gpt-oss-20b", {"name": "Q8_0", "experts": "mxfp4"}),
        (deepseek_v2_lite, "deepseek-v2-lite", "Q8_0"),
    ],
)
def test_a_header_is_the_catalogues_model_in_its_mix(
    tmp_path: Path, make: Callable[[Path], Path], name: str, mix: Any
) -> None:
    read, known = load_model(make(tmp_path / "model.gguf")), load_model(name)
    assert read.name == "model"
    assert bare(read) == bare(known)
    ours, theirs = Weights.of(read), Weights.of(known, mix)
    assert ours.experts == theirs.experts
    assert ours.beside_experts == pytest.approx(theirs.beside_experts, rel=1e-5)
    assert (ours.head, ours.embedding) == pytest.approx((theirs.head, theirs.embedding), rel=1e-5)


@HAS_GGUF
def test_parts_are_one_model_and_a_missing_one_is_named(tmp_path: Path) -> None:
    whole = qwen3(tmp_path / "a.gguf")
    first = whole.rename(tmp_path / "m-00001-of-00002.gguf")
    with pytest.raises(ModelError, match=r"m-00002-of-00002\.gguf: cannot be read: No such"):
        load_model(first)
    write(tmp_path / "m-00002-of-00002.gguf", "qwen3moe", {}, {})
    assert load_model(first).topology == (48, 128, 8)


@HAS_GGUF
def test_tied_embeddings_windows_and_layers_that_keep_a_state(tmp_path: Path) -> None:
    experts = {
        "ffn_gate_exps": ((64, 32, 8), "F16"),
        "ffn_up_exps": ((64, 32, 8), "F16"),
        "ffn_down_exps": ((32, 64, 8), "F16"),
    }
    attention = {
        "attn_q": ((64, 128), "F16"),
        "attn_k": ((64, 32), "F16"),
        "attn_v": ((64, 32), "F16"),
        "attn_output": ((128, 64), "F16"),
    }
    state = {"ssm_in": ((64, 256), "F16"), "ssm_out": ((128, 64), "F16")}
    layers = [state | experts, attention | experts, attention | experts]
    tensors = {f"blk.{i}.{name}": t for i, own in enumerate(layers) for name, t in own.items()}
    metadata = {
        "block_count": 3,
        "expert_used_count": 2,
        "attention.head_count": 4,
        "attention.head_count_kv": [0, 1, 1],
        "attention.sliding_window": 16,
        "attention.sliding_window_pattern": [False, True, False],
        "ssm.state_size": 16,
    }
    path = write(
        tmp_path / "m.gguf", "any", metadata, {"token_embd": ((64, 100), "F16"), **tensors}
    )
    model = load_model(path)
    assert model.tied_embeddings
    assert str(model.precision) == "f16"
    kinds = [(mixer.kind, window) for mixer, window in model.mixers]
    assert kinds == [("recurrent", None), ("gqa", 16), ("gqa", None)]
    weights = Weights.of(model)
    assert weights.attention == (2 * (64 * 256 + 128 * 64), *[2 * 64 * (128 + 64 + 128)] * 2)
    assert weights.experts == (2 * 3 * 64 * 32,) * 3
    assert weights.embedding == 0


@HAS_GGUF
@pytest.mark.parametrize("cut", [0, 3, 20, 100, 5000, 20_000])
def test_a_header_that_ends_early_is_one_line(tmp_path: Path, cut: int) -> None:
    whole = qwen3(tmp_path / "a.gguf")
    whole.write_bytes(whole.read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"a\.gguf: no GGUF file, or a damaged one$"):
        load_model(whole)


@HAS_GGUF
def test_a_dense_model_and_what_is_missing_are_named(tmp_path: Path) -> None:
    dense = write(
        tmp_path / "d.gguf", "llama", {"block_count": 1}, {"token_embd": ((64, 100), "F16")}
    )
    with pytest.raises(ModelError, match="no layer has experts"):
        load_model(dense)
    with pytest.raises(ModelError, match="block_count: missing"):
        load_model(write(tmp_path / "n.gguf", "llama", {}, {}))


def test_without_the_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"needs the package gguf: pip install"):
        load_model(tmp_path / "x.gguf")
