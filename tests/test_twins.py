"""The script that makes the bundled traces: every stage, on a tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the capture extra (torch)")
pytest.importorskip("transformers", reason="needs the capture extra (transformers)")
pytest.importorskip("tokenizers", reason="needs the capture extra (tokenizers)")

from prefetch_sim.experiments.predictor_study.measure import measure  # noqa: E402
from prefetch_sim.experiments.predictor_study.render import ORDER  # noqa: E402
from prefetch_sim.sim.config.models import load_model  # noqa: E402
from prefetch_sim.traces.capture.models import model_spec  # noqa: E402
from prefetch_sim.traces.capture.roles import find_roles  # noqa: E402
from prefetch_sim.traces.format import DECODE, read_trace  # noqa: E402
from prefetch_sim.traces.samples import sample_path  # noqa: E402
from prefetch_sim.traces.twins.__main__ import main  # noqa: E402
from prefetch_sim.traces.twins.card import render  # noqa: E402
from prefetch_sim.traces.twins.corpus import Document, small_documents, stdlib_documents  # noqa: E402
from prefetch_sim.traces.twins.models import build_model  # noqa: E402
from prefetch_sim.traces.twins.recipe import SMALL, TWINS, Recipe  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(work folder, trace) of one run of the whole script."""
    work = tmp_path_factory.mktemp("twin")
    out = work / "tiny.parquet"
    assert main([SMALL.name, "--work", str(work), "-o", str(out)]) == 0
    return work, out


def test_run_leaves_a_whole_trace_and_its_card(made: tuple[Path, Path]) -> None:
    trace = read_trace(made[1])
    sampling = SMALL.sampling
    assert trace.model.topology == (4, 8, 2)
    assert trace.model.dense_layers == (0,)
    assert sampling.kept is not None
    assert (trace.phase == DECODE).sum() == sampling.kept * sampling.new_tokens
    assert trace.meta.recorded["kept"] == "the first 4 of 6 requests"
    assert set(trace.predictions) == {"pre-attention", "cross-layer", "next-gate"}
    card = json.loads(made[1].with_suffix(".json").read_text())
    assert card["training"]["log"][-1]["step"] == SMALL.training.steps
    assert "The first 4 of the 6 requests recorded" in made[1].with_suffix(".md").read_text()


@pytest.mark.parametrize(
    "name", [recipe.name for recipe in TWINS if recipe.name != "mini-gpt-oss"]
)  # whose card is of an earlier form
def test_bundled_card_is_rendered_from_its_numbers(name: str) -> None:
    path = sample_path(name)
    numbers = json.loads(path.with_suffix(".json").read_text())
    assert path.with_suffix(".md").read_text() == render(path, numbers, path.stat().st_size)


@pytest.mark.parametrize("recipe", TWINS, ids=lambda recipe: recipe.name)
def test_recipe_keeps_what_is_bundled(recipe: Recipe) -> None:
    sampling = json.loads(sample_path(recipe.name).with_suffix(".json").read_text())["sampling"]
    assert recipe.sampling.kept == sampling["kept"]


def test_study_measures_every_predictor(made: tuple[Path, Path]) -> None:
    """On a model of no worth: that all of them are trained, speak and are scored."""
    found = measure(made[0])
    assert set(found["predictors"]) == set(ORDER)
    for name, scores in found["predictors"].items():
        assert 0 <= scores["common"]["exact"][0] <= scores["common"]["slots"][0] <= 1, name
        assert (scores["layer 0"]["slots"] is None) == (scores["distance"] > 0), name
    assert found["predictors"]["own-gate"]["common"]["exact"][0] == 1
    again = measure(made[0])
    assert again == found


def test_second_run_continues_and_gives_the_same_trace(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    work, out = made
    again = work / "again.parquet"
    assert main([SMALL.name, "--work", str(work), "-o", str(again)]) == 0
    assert '"step"' not in capsys.readouterr().out  # nothing was trained anew
    first, second = read_trace(out), read_trace(again)
    np.testing.assert_array_equal(first.experts, second.experts)
    np.testing.assert_array_equal(first.token_id, second.token_id)
    for name, prediction in first.predictions.items():
        np.testing.assert_array_equal(prediction.experts, second.predictions[name].experts)


def test_other_settings_do_not_overwrite_a_checkpoint(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    work, out = made
    before = (work / "checkpoint.pt").read_bytes()
    assert main([SMALL.name, "--work", str(work), "-o", str(out), "--steps", "9"]) == 2
    assert "other settings" in capsys.readouterr().err
    assert (work / "checkpoint.pt").read_bytes() == before


def test_unknown_twin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mini-gpt", "--work", str(tmp_path), "-o", str(tmp_path / "t.parquet")]) == 2
    assert "did you mean 'mini-gpt-oss'?" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", TWINS, ids=lambda recipe: recipe.name)
def test_twin_has_the_topology_and_the_family_of_what_it_is_like(recipe: Recipe) -> None:
    """Found by its routers, as capture does, on the model made thin."""
    thin = {"hidden_size": 32, "intermediate_size": 16, "moe_intermediate_size": 8}
    config = recipe.config | {k: v for k, v in thin.items() if k in recipe.config}
    model = build_model(replace(recipe, config=config, vocab=64), seed=0)
    spec, _ = model_spec(model.config, find_roles(model), recipe.name)
    like = load_model(recipe.like)
    assert spec.topology == like.topology
    assert spec.dense_layers == like.dense_layers
    assert spec.shared_experts == like.shared_experts


def test_fused_attention_equals_the_models_own() -> None:
    gpt_oss = next(recipe for recipe in TWINS if recipe.family == "GptOss")
    config = gpt_oss.config | {"num_hidden_layers": 2, "sliding_window": 16}
    model = build_model(replace(gpt_oss, config=config, vocab=64), seed=3).eval()
    ids = torch.randint(0, 64, (2, 40), generator=torch.Generator().manual_seed(0))
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
