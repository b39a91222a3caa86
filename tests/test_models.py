"""The model catalogue: sizes as published, and errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cli_support import ROOT

from prefetch_sim.sim.config.models import ModelError, load_model
from prefetch_sim.traces.models import catalogue
from prefetch_sim.traces.models.spec import GroupedQueryAttention, LatentAttention, ModelSpec

# MB of one expert in bf16 and as published; (MoE layers, experts, top-k).
PUBLISHED = {
    "deepseek-v2-lite": (17.30, 17.30, (26, 64, 6)),
    "deepseek-v3": (88.08, 44.04, (58, 256, 8)),
    "deepseek-v4-flash": (50.33, 13.37, (43, 256, 6)),
    "glm-4.7-flash": (18.87, 18.87, (46, 64, 4)),
    "glm-5.1": (75.50, 75.50, (75, 256, 8)),
    "gpt-oss-120b": (49.77, 13.22, (36, 128, 4)),
    "gpt-oss-20b": (49.77, 13.22, (24, 32, 4)),
    "kimi-k3": (66.06, 17.55, (92, 896, 16)),
    "mixtral-8x7b": (352.3, 352.3, (32, 8, 2)),
    "olmoe-1b-7b": (12.58, 12.58, (16, 64, 8)),
    "phi-3.5-moe": (157.3, 157.3, (32, 16, 2)),
    "phi-mini-moe": (23.59, 23.59, (32, 16, 2)),
    "qwen3-30b-a3b": (9.44, 9.44, (48, 128, 8)),
    "qwen3-next-80b-a3b": (6.29, 6.29, (48, 512, 10)),
    "qwen3.6-35b-a3b": (6.29, 6.29, (40, 256, 8)),
    "qwen3.8-flash-next": (9.83, 9.83, (48, 512, 10)),
}
# Billions of parameters, as the model cards state them.
PARAMETERS = {
    "deepseek-v2-lite": 15.7,
    "deepseek-v3": 671,
    "deepseek-v4-flash": 284,
    "glm-4.7-flash": 30,
    "glm-5.1": 744,
    "gpt-oss-120b": 116.8,
    "gpt-oss-20b": 20.9,
    "kimi-k3": 2780,
    "mixtral-8x7b": 46.7,
    "olmoe-1b-7b": 6.9,
    "phi-3.5-moe": 41.9,
    "phi-mini-moe": 7.6,
    "qwen3-30b-a3b": 30.5,
    "qwen3-next-80b-a3b": 79.7,
    "qwen3.6-35b-a3b": 35,
    "qwen3.8-flash-next": 125,
}


def test_catalogue() -> None:
    assert list(catalogue.names()) == sorted(PUBLISHED)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_sizes(name: str) -> None:
    bf16, own, topology = PUBLISHED[name]
    model = load_model(name)
    assert model.name == name
    assert model.topology == topology
    assert model.bytes_per_expert("bf16")[0] / 1e6 == pytest.approx(bf16, abs=0.05)
    assert model.bytes_per_expert()[0] / 1e6 == pytest.approx(own, abs=0.05)


def _parameters(model: ModelSpec) -> float:
    shape, hidden = model.attention, model.hidden
    if isinstance(shape, LatentAttention):
        query = shape.heads * (shape.nope_dim + shape.rope_dim)
        rank = shape.q_rank
        attention = hidden * query if rank is None else rank * (hidden + query)
        attention += hidden * (shape.kv_rank + shape.rope_dim)
        attention += shape.kv_rank * shape.heads * (shape.nope_dim + shape.v_dim)
        attention += shape.heads * shape.v_dim * hidden
    else:
        attention = 2 * hidden * shape.head_dim * (shape.heads + shape.kv_heads)
    expert = 3 * hidden * model.expert_hidden
    shared = 3 * hidden * model.shared_experts * model.shared_hidden
    moe = model.experts * (expert + hidden) + shared
    dense = 3 * hidden * model.dense_hidden
    layers = model.layers * attention + model.moe_layers * moe + len(model.dense_layers) * dense
    return layers + 2 * model.vocab * hidden


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_whole_model_has_the_published_parameter_count(name: str) -> None:
    # Every width enters the total, so a wrong one shows. Input and output embeddings are counted.
    assert _parameters(load_model(name)) / 1e9 == pytest.approx(PARAMETERS[name], rel=0.012)


def test_sliding_window_and_latent_attention() -> None:
    gpt = load_model("gpt-oss-20b").attention
    assert gpt.kind == "gqa"
    assert gpt.sliding_window == 128
    assert load_model("deepseek-v3").attention.kind == "mla"


def test_unknown_name_has_nearest_match() -> None:
    with pytest.raises(ModelError, match=r"unknown model 'mixtral-8x9b'.*'mixtral-8x7b'"):
        load_model("mixtral-8x9b")


def test_yaml_of_ones_own(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "traces" / "models" / "olmoe-1b-7b.yaml"
    path = tmp_path / "mine.yaml"
    path.write_text(source.read_text().replace("name: olmoe-1b-7b", "name: mine"))
    assert load_model(path).name == "mine"


def test_hugging_face_config(tmp_path: Path) -> None:
    folder = tmp_path / "my-mixtral"
    folder.mkdir()
    config = {
        "model_type": "mixtral",
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
    }
    (folder / "config.json").write_text(json.dumps(config))
    model = load_model(folder / "config.json")
    assert load_model(folder) == model
    assert model == load_model("mixtral-8x7b").model_copy(update={"name": model.name})
    assert model.name == "my-mixtral"

    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config.json: .*hidden_size"):
        load_model(folder / "config.json")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.yaml", "- 1\n", "expected a mapping of keys, but it is a list"),
        ("a.yaml", "name: x\nlayers: 2\n", "missing: hidden, experts, top_k, "),
        ("a.yaml", "name: x\nlayers: 2\nname: y\n", "line 3: the key 'name' is given twice"),
        ("a.yaml", "name: [", "line 1: expected the node content"),
        ("config.json", "{", "not valid JSON"),
        ("config.json", "[]", "expected a mapping, found list"),
    ],
)
def test_bad_files(tmp_path: Path, file: str, text: str, message: str) -> None:
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_path_of_an_error_has_no_more_than_its_keys(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "traces" / "models" / "olmoe-1b-7b.yaml"
    path = tmp_path / "mine.yaml"
    for wrong, message in (
        ("head_dim: x", "attention.head_dim: Input should be a valid integer"),
        ("head_dim: 128, head_dm: 1", "attention.head_dm: unknown key; did you mean 'head_dim'?"),
    ):
        path.write_text(source.read_text().replace("head_dim: 128", wrong))
        with pytest.raises(ModelError) as caught:
            load_model(path)
        assert str(caught.value).startswith(f"{path}: {message}")


def test_misspelt_key(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "traces" / "models" / "olmoe-1b-7b.yaml"
    path = tmp_path / "mine.yaml"
    path.write_text(source.read_text() + "expert_hiden: 3\n")
    with pytest.raises(ModelError, match=r"expert_hiden: unknown key.*'expert_hidden'"):
        load_model(path)


def test_the_page_has_a_model_with_every_field(tmp_path: Path) -> None:
    """Each field of a shape, and of its attention, is there; what may be left out, may."""
    page = (ROOT / "docs/config.md").read_text(encoding="utf-8")
    (block,) = (part for part in page.split("```yaml\n") if part.startswith("name: acme"))
    text = block.split("```", 1)[0]
    path = tmp_path / "acme.yaml"
    path.write_text(text, encoding="utf-8")
    shown = yaml.safe_load(text)
    assert shown.keys() == ModelSpec.model_fields.keys()
    assert shown["attention"].keys() == GroupedQueryAttention.model_fields.keys()
    latent = text.split("or {", 1)[1].split("}", 1)[0].split(", ")
    assert {key.split(":")[0] for key in latent} == LatentAttention.model_fields.keys()
    assert load_model(path).topology == (6, 32, 4)
    least = dict(list(shown.items())[: list(shown).index("vocab") + 1])
    assert least.keys() == {
        name for name, field in ModelSpec.model_fields.items() if field.is_required()
    }
    path.write_text(yaml.safe_dump(least))
    load_model(path)


def test_all_fields_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nlayer: 4\nattention: {kind: gqa, heads: 4}\n")
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert str(caught.value) == (
        f"{path}: missing: layers, hidden, experts, top_k, expert_hidden, attention.kv_heads, "
        "attention.head_dim, vocab; layer: unknown key; did you mean 'layers'?; docs/config.md has "
        "one with all its fields"
    )


def test_a_family_that_is_not_known_names_what_else_there_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "acme_moe", "num_experts": 4}')
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    assert "'acme_moe' is not supported; known: afmoe, " in str(caught.value)
    assert "see docs/config.md" in str(caught.value)
    assert "{name: mixtral-8x7b, layers: 4}" in str(caught.value)
