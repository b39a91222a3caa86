"""What is counted and how it is summed up, on tables small enough to count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli_support import BASE, small_trace
from harness import FixedCost, machine, make_trace, run_system, system

from prefetch_sim.experiments.sweeps import export, points
from prefetch_sim.experiments.sweeps.store import Outcome, Store
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.engine.records import LayerRecords
from prefetch_sim.sim.predictors.base import Table
from prefetch_sim.sim.results.metrics import distribution, hit_rates
from prefetch_sim.sim.results.quality import Quality
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.run import run, simulate
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.info import trace_info


def test_percentiles() -> None:
    found = distribution(np.arange(101) ** 2 * 10**6)
    assert found == {"mean": 3350.0, "p50": 2500.0, "p95": 9025.0, "p99": 9801.0}
    assert set(distribution(np.array([], dtype=np.int64)).values()) == {None}


def test_hit_rates_by_phase_and_layer() -> None:
    records = LayerRecords()
    for step, layer, experts, hits in ((0, 0, 4, 1), (0, 1, 2, 2), (1, 0, 2, 1), (1, 1, 2, 0)):
        records.add_numbers((step, layer, experts, hits, 0, 0))
        records.add_times((0,) * len(records.times))
    assert hit_rates(records.totals(np.array([1, 0]), 2)) == {
        "all": 0.4,
        "decode": 0.25,
        "prefill": 0.5,
        "by_layer": [round(2 / 6, 6), 0.5],
    }


def quality(distance: int) -> Quality:
    """Four tokens, two layers of four experts, top-2; the second layer routes every other token."""
    trace = make_trace([[[0, 1], [0, 1]], [[2, 3], [0, 1]], [[0, 2], [2, 3]], [[1, 3], [0, 1]]], 4)
    trace.experts[[1, 3], 1] = -1
    first = [[1, 0], [2, 0], [-1, -1], [0, 2]]  # both, one, silent, none
    second = [[4, 5], [4, 5], [6, 4], [-1, -1]]  # both, not routed, one, neither
    ids = np.array([first, second], dtype=np.int32).transpose(1, 0, 2)
    table = Table(ids, np.zeros(ids.shape, dtype=np.float32))
    return Quality(Workload(trace, 1), table, distance)


def test_recall_counts_tokens_that_were_routed_and_predicted() -> None:
    assert quality(0).counts.tolist() == [[6, 3, 3, 1], [4, 3, 2, 1]]
    assert quality(0).summary() == {
        "predicted": round(5 / 6, 6),
        "slot_recall": 0.6,
        "exact_set": 0.4,
        "layer0_slot_recall": 0.5,
        "layer0_exact_set": round(1 / 3, 6),
        "slot_recall_by_layer": [0.5, 0.75],
        "exact_set_by_layer": [round(1 / 3, 6), 0.5],
    }


def test_a_layer_that_is_never_predicted_has_no_recall() -> None:
    found = quality(1).summary()
    assert found["layer0_slot_recall"] is None
    assert found["layer0_exact_set"] is None
    assert found["slot_recall_by_layer"] == [None, found["slot_recall"]] == [None, 0.75]
    assert found["exact_set_by_layer"] == [None, found["exact_set"]] == [None, 0.5]


def test_a_request_does_not_reuse_what_the_one_before_it_used() -> None:
    trace = make_trace([[[0]], [[0]], [[0]], [[1]]], 2, requests=[2, 2])
    assert trace_info(trace)["reuse"]["mean"] == 0.5  # of two tokens that follow another


def test_results_say_what_they_are_results_of() -> None:
    trace = make_trace([[[0], [1]]], 2, sizes=[100, 50])
    inputs = system(trace, machine(), capacity=[200, 50], seed=3, cache={"scope": "layer"})
    _, found = run_system(inputs, FixedCost(2))
    assert (found["model"], found["hardware"]) == ("small", "machine")
    assert found["cache"] == {"bytes": 250, "static": {"experts": 0, "bytes": 0}}
    assert RunConfig.model_validate(json.loads(json.dumps(found["config"]))) == inputs.config
    assert found["config"]["seed"] == 3


@pytest.mark.parametrize("predictor", ["guess", {"name": "oracle", "recall": 0.0, "distance": 3}])
def test_a_table_of_results_has_a_layers_list_in_one_cell(
    predictor: str | dict[str, object], tmp_path: Path
) -> None:
    small_trace(tmp_path / "small.parquet")
    tree = BASE | {"trace": str(tmp_path / "small.parquet"), "sweep": {"predictor": [predictor]}}
    plan = points.plan(tree, "test")
    found = run(plan[0].config)
    with Store(tmp_path) as store:
        store.put(plan[0].key, "{}", Outcome(found, None, 1.0))
        export.write(tmp_path, plan, store)
    (row,) = pq.read_table(tmp_path / "results.parquet").to_pylist()
    ((name, counted),) = found["predictors"].items()
    column = f"predictors.{name}.slot_recall_by_layer"
    assert row[column] == counted["slot_recall_by_layer"]
    assert len(row[column]) == 4
    assert (tmp_path / "results.csv").read_text().count(column) == 1
    assert (row["model"], row["cache.bytes"]) == ("tiny", found["cache"]["bytes"])


def test_results_need_no_record_of_each_load() -> None:
    inputs = load(RunConfig.model_validate({"requests": "0:1"}))
    kept, dropped = simulate(inputs), simulate(inputs, records=False)
    assert results(kept) == results(dropped)
    assert results(kept)["loads"] == (kept.loads.column("landed") >= 0).sum() > 0
    assert len(dropped.loads) == 0
