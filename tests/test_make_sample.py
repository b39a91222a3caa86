"""The script that makes the sample: every stage, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from traces.format import DECODE, Trace, read_trace

torch = pytest.importorskip("torch", reason="needs the capture extra (torch)")
pytest.importorskip("transformers", reason="needs the capture extra (transformers)")
pytest.importorskip("tokenizers", reason="needs the capture extra (tokenizers)")

from traces.make_sample.__main__ import main  # noqa: E402
from traces.make_sample.corpus import Document, small_documents, stdlib_documents  # noqa: E402
from traces.make_sample.model import build_model  # noqa: E402
from traces.make_sample.predictors import PredictorTraining, probabilities, train_mlp  # noqa: E402
from traces.make_sample.recipe import SMALL  # noqa: E402
from traces.make_sample.score import hits  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(work folder, trace) of one run of the whole script."""
    work = tmp_path_factory.mktemp("sample")
    out = work / "tiny.parquet"
    assert main(["--work", str(work), "-o", str(out), "--small"]) == 0
    return work, out


@pytest.fixture(scope="module")
def trained(made: tuple[Path, Path]) -> Any:
    model = build_model(SMALL.shape, seed=1)
    model.load_state_dict(torch.load(made[0] / "checkpoint.pt", weights_only=True)["model"])
    return model.eval()


def plain_router_logits(model: Any, trace: Trace) -> Any:
    """[T, L, E] of one forward pass without cache over each whole request."""
    assert trace.token_id is not None
    rows = [trace.token_id[start:end] for _id, start, end in trace.requests]
    ids = torch.from_numpy(np.stack(rows)).long()
    with torch.no_grad():
        out = model(input_ids=ids, use_cache=False, output_router_logits=True)
    return torch.stack(out.router_logits, dim=1)


def test_run_leaves_a_whole_trace_and_its_card(made: tuple[Path, Path]) -> None:
    trace = read_trace(made[1])
    sampling = SMALL.sampling
    assert trace.model.topology == (2, 8, 2)
    assert (trace.phase == DECODE).sum() == sampling.requests * sampling.new_tokens
    assert set(trace.predictions) == {"pre-attention", "cross-layer", "next-gate"}
    card = json.loads(made[1].with_suffix(".json").read_text())
    assert card["training"]["log"][-1]["step"] == SMALL.training.steps
    assert made[1].with_suffix(".md").exists()


def test_recorded_routing_is_the_plain_forward_pass(made: tuple[Path, Path], trained: Any) -> None:
    """Prefill and cached decode alike; the window (16) is shorter than the requests (32)."""
    trace = read_trace(made[1])
    best = plain_router_logits(trained, trace).topk(SMALL.shape.top_k, dim=-1)
    np.testing.assert_array_equal(trace.experts, best.indices.numpy())
    assert trace.weights is not None
    expected = torch.softmax(best.values, dim=-1).numpy()
    np.testing.assert_allclose(trace.weights.astype(np.float32), expected, rtol=2**-7)


def test_next_gate_is_the_next_gate(made: tuple[Path, Path], trained: Any) -> None:
    """From the gate input of layer 0 through layer 1's router, by hand."""
    trace = read_trace(made[1])
    assert trace.token_id is not None
    seen = []
    routers = [layer.mlp.router for layer in trained.model.layers]
    handle = routers[0].register_forward_hook(lambda _m, args, _out: seen.append(args[0]))
    plain_router_logits(trained, trace)
    handle.remove()
    with torch.no_grad():
        logits, _, _ = routers[1](seen[0])
    prediction = trace.predictions["next-gate"].experts
    expected = logits.topk(prediction.shape[-1], dim=-1).indices.numpy()
    np.testing.assert_array_equal(prediction[:, 1], expected)
    assert (prediction[:, 0] == -1).all()


def test_second_run_continues_and_gives_the_same_trace(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    work, out = made
    again = work / "again.parquet"
    assert main(["--work", str(work), "-o", str(again), "--small"]) == 0
    assert '"step"' not in capsys.readouterr().out  # nothing was trained anew
    first, second = read_trace(out), read_trace(again)
    np.testing.assert_array_equal(first.experts, second.experts)
    np.testing.assert_array_equal(first.token_id, second.token_id)


def test_other_settings_do_not_overwrite_a_checkpoint(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    work, out = made
    before = (work / "checkpoint.pt").read_bytes()
    assert main(["--work", str(work), "-o", str(out), "--small", "--steps", "9"]) == 2
    assert "other settings" in capsys.readouterr().err
    assert (work / "checkpoint.pt").read_bytes() == before


def test_fused_attention_equals_the_models_own() -> None:
    model = build_model(SMALL.shape, seed=3).eval()
    ids = torch.randint(0, SMALL.shape.vocab, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fused = model(input_ids=ids).logits
        model.set_attn_implementation("eager")
        own = model(input_ids=ids).logits
    torch.testing.assert_close(fused, own, rtol=1e-4, atol=1e-5)


def test_split_depends_on_the_name_alone() -> None:
    documents = small_documents()
    assert {d.split for d in documents} == {"train", "validation", "predict", "prompt"}
    for document in documents:
        assert Document(document.name, "elsewhere", "other text").split == document.split


def test_standard_library_without_its_tests() -> None:
    names = [d.name for d in stdlib_documents()]
    assert "argparse.py" in names
    assert not any("test" in Path(name).parts or "site-packages" in name for name in names)


def test_trained_predictor_finds_a_rule_and_its_probabilities() -> None:
    """Experts 0 or 1 by the sign of the input, and 2 or 3 by a coin."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1, 4000, 4, generator=generator)
    second = torch.randint(2, 4, (1, 4000, 1), generator=generator)
    experts = torch.cat([(inputs[..., :1] > 0).long(), second], dim=-1)
    settings = PredictorTraining(hidden=32, epochs=40, batch=128, peak_rate=1e-2)
    weights, losses = train_mlp(inputs.half(), experts.to(torch.uint8), 4, settings)
    assert losses[-1] < losses[0]
    hidden = torch.nn.functional.silu(inputs @ weights["w1"] + weights["b1"])
    chance = probabilities(hidden @ weights["w2"] + weights["b2"])[0]
    right = chance.gather(1, experts[0, :, :1]).mean()
    assert right > 0.9
    assert float(chance[:, 2].mean()) == pytest.approx(0.5, abs=0.1)


def test_hits_counts_the_common_experts() -> None:
    experts = np.array([[1, 2, 3], [4, 5, 6]])
    named = np.array([[3, 9, 1, 8], [7, 8, 9, 10]])
    assert hits(experts, named).tolist() == [2, 0]
