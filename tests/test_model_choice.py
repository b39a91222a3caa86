"""``model`` as a mapping: a model, or the trace's, with some figures of its shape replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse, set_path
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.run import run
from prefetch_sim.sim.setup.inputs import Inputs, load

TRACE = {"trace": "mini-gpt-oss", "requests": "0:1", "cache": {"capacity": "50%"}}


def inputs(**keys: Any) -> Inputs:
    return load(parse({**TRACE, **keys}, "my.yaml"))


def test_a_token_keeps_the_best_of_its_experts() -> None:
    four, two = inputs(), inputs(model={"name": "gpt-oss-20b", "top_k": 2})
    assert two.model == load_model("gpt-oss-20b").model_copy(update={"top_k": 2})
    assert two.workload.top_k == 2
    assert two.workload.trace.meta.model.top_k == 2
    assert (two.workload.flat == four.workload.flat[:, :, :2]).all()
    assert inputs(model={"top_k": 4}).workload.flat.tolist() == four.workload.flat.tolist()


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_recorded_predictors_speak_of_what_is_left(engine: str) -> None:
    keys: dict[str, Any] = {"predictor": "pre-attention", "engine": engine}
    (four, two) = (run(parse({**TRACE, **keys, "model": {"top_k": k}}, "my.yaml")) for k in (4, 2))
    assert two["compute_ms"] < four["compute_ms"]
    recall = [found["predictors"]["pre-attention"]["slot_recall"] for found in (four, two)]
    assert all(0.5 < share < 1 for share in recall)


def test_a_sweep_sets_it_by_its_path_with_and_without_a_name() -> None:
    assert set_path(TRACE, "model.top_k", 2)["model"] == {"top_k": 2}
    named = set_path({**TRACE, "model": "gpt-oss-20b"}, "model.top_k", 1)
    assert load(parse(named, "my.yaml")).model.name == "gpt-oss-20b"
    assert load(parse(named, "my.yaml")).workload.top_k == 1


def test_made_up_routing_has_as_many() -> None:
    made = {"synthetic": "olmoe-1b-7b", "requests": 1, "prompt": 2, "decode": 2}
    found = load(parse({"trace": made, "model": {"top_k": 3}}, "my.yaml"))
    assert found.workload.flat.shape[2] == found.model.top_k == 3


def test_other_figures_and_what_was_measured() -> None:
    narrow = inputs(model={"name": "gpt-oss-20b", "expert_hidden": 288})
    assert narrow.sizes[0] * 10 == inputs(model="gpt-oss-20b").sizes[0]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"top_k": 5}, "model.top_k: 5 exceeds the 4 experts a token that the trace records"),
        ({"top_k": 0}, "my.yaml: model.top_k: Input should be greater than 0"),
        ({"name": "gpt-oss-20b", "hiden": 5}, "model: hiden: unknown key; did you mean 'hidden'?"),
        ({"name": "gpt-oss-20b", "hidden": -5}, "model: hidden: Input should be greater than 0"),
        ({"vocab": int("9" * 400)}, "model: vocab: Input should be less than or equal to 10000000"),
        ({"expert_hidden": 10**9}, "model: expert_hidden: Input should be less than or equal to"),
        ({"experts": 10**9}, "model: experts: Input should be less than or equal to 32767"),
        ({"expert_bytes": [10**13] * 24}, "model: expert_bytes "),
        ({"layers": 12}, "model: "),
        (3, "my.yaml: model: "),
    ],
)
def test_a_model_that_is_none(model: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        inputs(model=model)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_shape_of_brackets_in_brackets_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ConfigError) as caught:
        inputs(model=str(path))
    assert f"{path}: not valid JSON: " in str(caught.value)
    assert "\n" not in str(caught.value)
