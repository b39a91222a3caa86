"""Predictors: each keeps the contract, and what each one knows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import reference_predictors as reference
from contracts import PredictorContract
from contracts.predictor import EXPERTS, K, play, recording
from harness import FixedCost, machine, make_trace, run_system, system
from hypothesis import given
from hypothesis import strategies as st

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.predictors.base import Context, Predictor, PredictorParams, Table, silent
from prefetch_sim.sim.predictors.oracle import miss_probabilities
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.format import Trace


class TestOracle(PredictorContract):
    policy = "oracle"
    looks_ahead = True


class TestDegradedOracle(PredictorContract):
    policy = "oracle"
    params = {"recall": 0.8, "distance": 1}  # noqa: RUF012
    looks_ahead = True


class TestPoorOracle(TestDegradedOracle):
    params = {"recall": 0.1, "trigger": "gate_input"}  # noqa: RUF012


class TestPreviousToken(PredictorContract):
    policy = "previous-token"


class TestPreviousTokenSameLayer(PredictorContract):
    policy = "previous-token"
    params = {"distance": 0}  # noqa: RUF012


class TestLayerFrequency(PredictorContract):
    policy = "layer-frequency"


class TestLayerFrequencySameLayer(PredictorContract):
    policy = "layer-frequency"
    params = {"distance": 0}  # noqa: RUF012


class TestTransition(PredictorContract):
    policy = "transition"


class TestRecorded(PredictorContract):
    policy = "recorded"
    params = {"column": "column"}  # noqa: RUF012


def test_every_predictor_has_its_contract_class() -> None:
    covered = {c.policy for c in PredictorContract.__subclasses__()}
    assert covered >= set(registry.names("predictors"))


def decode_trace(tokens: int = 400, layers: int = 2, experts: int = 16, k: int = 4) -> Trace:
    rng = np.random.default_rng(3)
    odds = rng.random((tokens, layers, experts)) ** (np.arange(experts) + 1.0)
    return make_trace(np.argsort(-odds, axis=2)[:, :, :k].tolist(), experts)


def slot_recall(trace: Trace, name: str, **params: object) -> float:
    """Share of the routed experts among the first k named, over every prediction made."""
    _, log = play(registry.find("predictors", name), params, trace, 1)
    k = trace.model.top_k
    workload = Workload(trace, 1)
    steps = list(workload.steps())
    found = [
        len(set(said.ids[:k]) & set(workload.routed(steps[step], target)[0])) / k
        for step, target, said in log
        if said is not None
    ]
    return sum(found) / len(found)


@pytest.mark.parametrize("recall", [1.0, 0.9, 0.6, 0.25, 0.0])
def test_the_oracle_has_the_recall_it_is_asked_for(recall: float) -> None:
    trace = decode_trace()
    slots = 400 * 2 * 4
    spread = 4 * (recall * (1 - recall) / slots) ** 0.5
    assert slot_recall(trace, "oracle", recall=recall) == pytest.approx(recall, abs=spread + 1e-9)


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_misses_sit_at_the_boundary_of_the_top_k(k: int) -> None:
    for recall in np.linspace(0, 1, 21):
        odds = miss_probabilities(float(recall), k)
        assert np.mean(odds) == pytest.approx(1 - recall)
        assert odds == sorted(odds)
        assert odds[0] >= 0
        assert odds[-1] <= 1


def test_the_oracle_does_not_depend_on_what_was_asked_before() -> None:
    module, trace = registry.find("predictors", "oracle"), decode_trace(20)
    _, whole = play(module, {"recall": 0.5}, trace, 1)
    params = {"recall": 0.5, "distance": 1}
    _, ahead = play(module, params, trace, 1)
    by_place = {(step, target): said for step, target, said in whole}
    assert all(by_place[step, target] == said for step, target, said in ahead)
    _, other = play(module, {"recall": 0.5}, trace, 1, seed=1)
    assert other != whole


def test_the_previous_token_repeats_the_last_one_of_its_request() -> None:
    trace = recording()
    _, log = play(registry.find("predictors", "previous-token"), {"distance": 0}, trace, 1)
    steps = list(Workload(trace, 1).steps())
    assert all(said is None for step, _, said in log if steps[step].prefill)
    said = {(step, target): p.ids for step, target, p in log if p is not None}
    for before, step in pairwise(steps):
        if not step.prefill:
            expected = (trace.experts[step.rows[0] - 1, 1] + EXPERTS).tolist()
            assert said[step.number, 1] == expected
            assert before.requests == step.requests


def test_a_first_token_without_a_prompt_has_no_previous_one() -> None:
    trace = make_trace([[[0]], [[1]], [[2]]], 3, requests=[1, 2])
    _, log = play(registry.find("predictors", "previous-token"), {"distance": 0}, trace, 1)
    assert [said and said.ids for _, _, said in log] == [None, None, [1]]
    _, log = play(registry.find("predictors", "previous-token"), {"distance": 0}, trace, 2)
    assert [said and said.ids for _, _, said in log] == [None, [1]]


def test_layer_frequency_names_the_most_used_so_far() -> None:
    trace = make_trace([[[0, 1]], [[2, 1]], [[3, 1]], [[2, 0]]], 5)
    _, log = play(registry.find("predictors", "layer-frequency"), {"distance": 0}, trace, 1)
    assert log[0][2] is None
    assert log[3][2] is not None
    assert log[3][2].ids == [1, 0, 2, 3]
    assert log[3][2].scores == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 3])


def test_transition_names_what_followed() -> None:
    # Layer 0's expert 0 is followed by 2 twice and by 1 once; expert 1 by 0.
    trace = make_trace([[[0], [2]], [[0], [1]], [[1], [0]], [[0], [2]], [[0], [2]]], 3)
    _, log = play(registry.find("predictors", "transition"), {}, trace, 1)
    said = [prediction for _, _, prediction in log]
    assert said[0] is None
    assert said[2] is None  # expert 1 was never seen before
    assert said[4] is not None
    assert said[4].ids == [5, 4]
    assert said[4].scores == pytest.approx([2 / 3, 1 / 3])


def test_a_recorded_predictor_replays_its_column() -> None:
    trace = recording()
    predictor, log = play(registry.find("predictors", "recorded"), {"column": "column"}, trace, 1)
    assert (predictor.trigger, predictor.distance) == ("gate_input", 1)
    assert predictor.cost == (2.0, 8)
    steps = list(Workload(trace, 1).steps())
    column = trace.predictions["column"]
    for step, target, said in log:
        assert said is not None
        rows = list(steps[step].rows)
        expected = column.experts[rows, target].astype(int) + target * EXPERTS
        assert said.ids == expected.ravel().tolist()
        assert said.scores == column.scores[rows, target].ravel().tolist()


def test_a_recorded_predictor_costs_as_much_as_the_runs_model_is_wide() -> None:
    """Its own model is 8 wide and it records 2 operations and 8 bytes."""
    module, trace = registry.find("predictors", "recorded"), recording()
    wide = trace.meta.model.model_copy(update={"hidden": 180})
    context = Context(Workload(trace, 1), 0, wide)
    assert module.Predictor(module.Params(column="column"), context).cost == (45.0, 180)


class Wide(Predictor):
    """It names what is routed if the run's model is wide, and nothing otherwise."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def table(self) -> Table:
        workload = self.context.workload
        said = silent(workload, workload.top_k)
        if self.context.model.hidden > 8:
            said.ids[:] = workload.flat
        return said


def test_runs_of_another_model_do_not_share_what_was_said() -> None:
    inputs = system(decode_trace(tokens=5), machine(), capacity=1 << 16)
    params = PredictorParams()
    for hidden, said in ((8, 0.0), (16, 1.0), (8, 0.0)):
        model = inputs.model.model_copy(update={"hidden": hidden})
        predictor = Wide(Context(inputs.workload, 0, model))
        run = replace(inputs, model=model, predictors=(("wide", predictor, params),))
        _, found = run_system(run, FixedCost(2))
        assert found["predictors"]["wide"]["predicted"] == said


def test_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no predictor 'colum'; did you mean 'column'"):
        play(registry.find("predictors", "recorded"), {"column": "colum"}, recording(), 1)


def test_learning_predictors_beat_chance_where_there_is_something_to_learn() -> None:
    trace = decode_trace()
    chance = trace.model.top_k / trace.model.experts
    assert slot_recall(trace, "layer-frequency", distance=0) > 2 * chance
    assert slot_recall(trace, "transition") > K / EXPERTS


SMALL = {"tokens": (1, 40), "layers": (1, 4), "experts": (1, 9), "batch": (1, 4)}


@pytest.mark.parametrize("compiled", [True, False])
@given(st.fixed_dictionaries({key: st.integers(*ends) for key, ends in SMALL.items()}), st.data())
def test_predictors_say_what_they_say_when_asked_step_by_step(
    compiled: bool, shape: dict[str, int], data: st.DataObject
) -> None:
    if compiled:
        pytest.importorskip("numba")
    k = data.draw(st.integers(1, shape["experts"]))
    odds = np.random.default_rng(data.draw(st.integers(0, 99))).random(
        (shape["tokens"], shape["layers"], shape["experts"])
    )
    first = data.draw(st.integers(1, shape["tokens"]))
    trace = make_trace(
        np.argsort(odds, axis=2)[:, :, :k].tolist(),
        shape["experts"],
        prompt=data.draw(st.integers(0, 3)),
        requests=[n for n in (first, shape["tokens"] - first) if n],
    )
    if data.draw(st.booleans()):
        trace.experts[trace.phase == 0, -1] = -1
    context = Context(Workload(trace, shape["batch"]), 7, trace.meta.model)
    distance = data.draw(st.integers(0, shape["layers"] - 1))
    recall = data.draw(st.sampled_from([0.0, 0.5, 0.8, 1.0]))
    ahead = {"distance": distance}
    pairs = [
        ("layer-frequency", ahead, reference.LayerFrequency(context, distance)),
        ("previous-token", ahead, reference.PreviousToken(context, distance)),
        ("transition", {}, reference.Transition(context)),
        ("oracle", ahead | {"recall": recall}, reference.Oracle(context, recall, distance)),
    ]
    for name, params, slow in pairs:
        module = registry.find("predictors", name)
        predictor = module.Predictor(module.Params.model_validate(params), context)
        with pytest.MonkeyPatch.context() as patch:
            if not compiled:
                for loop in [n for n in vars(module) if hasattr(vars(module)[n], "__wrapped__")]:
                    patch.setattr(module, loop, vars(module)[loop].__wrapped__)
            ids, scores = predictor.table()
        expected = slow.table()
        m = expected.ids.shape[2]
        assert (ids[:, :, m:] == -1).all()
        assert ids[:, :, :m].tolist() == expected.ids[:, :, : ids.shape[2]].tolist(), name
        assert scores[:, :, :m].tolist() == expected.scores[:, :, : ids.shape[2]].tolist(), name
