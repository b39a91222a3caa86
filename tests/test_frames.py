"""DataFrames of a run: what they sum up to is what the results say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.results import frames
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup.inputs import load

ROOT = Path(__file__).parents[1]
BASE: dict[str, Any] = {
    "trace": "mini-deepseek-v2-lite",
    "requests": "0:3",
    "tokens": "28:38",  # the last of the prompts too
    "model": "deepseek-v2-lite",
    "cache": {"capacity": "20%"},
}
RUNS: dict[str, dict[str, Any]] = {
    "prefetch": {"predictor": ["cross-layer", "pre-attention"], "prefetch": {"extra": 2}},
    "batch": {"batch_size": 2, "predictor": "previous-token"},
    "storage": {"host": {"capacity": "40%"}, "predictor": "cross-layer"},
    "cpu": {"misses": {"policy": "cheapest", "then": "load"}, "hardware": {"cpu": "ryzen-9900x"}},
    "no prompt": {"tokens": "32:38"},
}


@pytest.fixture(scope="module", params=RUNS)
def done(request: pytest.FixtureRequest) -> Simulation:
    return simulate(load(RunConfig.model_validate(BASE | RUNS[request.param])))


def mean(column: pd.Series[float]) -> float | None:
    return float(column.mean()) if len(column) else None


def close(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, abs=2e-6)  # results are whole ns


def test_every_column_is_said_and_in_order(done: Simulation) -> None:
    for name, columns in frames.COLUMNS.items():
        assert list(getattr(frames, name)(done).columns) == list(columns)


def test_requests_are_those_of_the_results(done: Simulation) -> None:
    frame, found = frames.requests(done), results(done)["by_request"]
    for name in ("tpot_ms", "ttft_ms"):
        assert [None if np.isnan(v) else v for v in frame[name]] == found[name]
    assert frame["output_tokens"].tolist() == found["output_tokens"]
    trace = done.inputs.workload.trace
    assert frame["prompt_tokens"].sum() == (trace.phase == 0).sum()
    assert (frame["end_ms"] > frame["start_ms"]).all()
    assert frame["end_ms"].max() == close(results(done)["total_ms"])


def test_tokens_are_tpot_and_ttft(done: Simulation) -> None:
    frame, found = frames.tokens(done), results(done)
    of = {phase: frame[frame["phase"] == phase] for phase in ("decode", "prefill")}
    assert mean(of["decode"]["latency_ms"]) == close(found["tpot_ms"]["mean"])
    assert mean(of["prefill"]["latency_ms"]) == close(found["ttft_ms"]["mean"])
    each = of["decode"].groupby("request")["latency_ms"].mean()
    assert each.tolist() == pytest.approx(frames.requests(done)["tpot_ms"].tolist(), abs=2e-6)
    for _, rows in frame.groupby("request"):
        assert rows["token"].tolist() == list(range(len(rows)))
        assert rows["end_ms"].is_monotonic_increasing
        gaps = rows["end_ms"].diff().iloc[1:]
        assert gaps.tolist() == pytest.approx(rows["latency_ms"].iloc[1:].tolist(), abs=1e-5)


def test_layer_steps_sum_to_hits_and_stalls(done: Simulation) -> None:
    frame, found = frames.layer_steps(done), results(done)
    assert len(frame) == found["layer_steps"]
    for phase in ("decode", "prefill"):
        rows = frame[frame["phase"] == phase]
        experts = int(rows["experts"].sum())
        rate = rows["hits"].sum() / experts if experts else None
        assert rate == close(found["hit_rate"][phase])
    for name, ms in found["stall_ms"].items():
        assert frame[f"stall_{name}_ms"].sum() == pytest.approx(ms, abs=1e-3)
    by_layer = frame.groupby("layer")[["hits", "experts"]].sum()
    rates = (by_layer["hits"] / by_layer["experts"]).tolist()
    assert rates == pytest.approx(found["hit_rate"]["by_layer"], abs=1e-6)
    assert (frame["start_ms"] <= frame["routed_ms"]).all()
    assert (frame["routed_ms"] <= frame["end_ms"]).all()


def test_loads_sum_to_bytes_and_ends(done: Simulation) -> None:
    frame, found = frames.loads(done), results(done)
    landed = frame[frame["landed_ms"].notna()]
    assert len(landed) == found["loads"]
    moved = landed.groupby("origin", observed=False)["bytes"].sum().to_dict()
    size = max(done.inputs.sizes)
    for origin, nbytes in found["bytes"]["host_to_gpu"].items():  # some may move as the run ends
        assert moved[origin] <= nbytes < moved[origin] + 4 * size
    prefetches = frame[frame["origin"] == "prefetch"]
    ends = prefetches["ended"].value_counts()
    for name, count in found["prefetch"].items():
        if name not in ("proposed", "redundant"):  # which queue nothing
            assert ends[name] == count
    assert prefetches["predictor"].isin([name for name, _, _ in done.inputs.predictors]).all()
    assert frame[frame["origin"] != "prefetch"]["predictor"].isna().all()
    assert (landed["issued_ms"] <= landed["started_ms"]).all()
    assert (landed["started_ms"] <= landed["landed_ms"]).all()


def test_the_last_link_moves_what_landed_to_the_byte() -> None:
    done = simulate(load(RunConfig.model_validate(BASE)))
    assert frames.loads(done)["bytes"].sum() == results(done)["bytes"]["host_to_gpu"]["demand"]


def test_without_records_there_are_none_of_layers_and_loads() -> None:
    done = simulate(load(RunConfig.model_validate(BASE | {"requests": "0:1"})), records=False)
    assert len(frames.requests(done)) == 1
    assert len(frames.tokens(done)) == results(done)["by_request"]["output_tokens"][0] + 1
    for frame in (frames.layer_steps, frames.loads):
        with pytest.raises(ConfigError, match="records=True"):
            frame(done)


def test_the_page_lists_every_column() -> None:
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    listed = text.partition("| frame | column |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in listed.splitlines()[2:]]
    frame, found = "", {}
    for name, column, what in rows:
        frame = name.removeprefix("`run.").removesuffix("`") or frame
        found.setdefault(frame, {})[column.strip("`")] = what
    assert found == frames.COLUMNS


def test_requests_of_steps_and_loads(done: Simulation) -> None:
    alone = done.inputs.config.batch_size == 1
    requests, steps, loads = frames.requests(done), frames.layer_steps(done), frames.loads(done)
    tokens = frames.tokens(done)
    named = steps.drop_duplicates("step").set_index("step")["request"]
    own = named[tokens["step"]].to_numpy(dtype=float, na_value=np.nan)
    assert (np.isnan(own) | (own == tokens["request"])).all()
    assert np.isnan(own).any() != alone
    of_loads = named[loads["for_step"]].reset_index(drop=True)
    pd.testing.assert_series_equal(loads["request"], of_loads)
    assert requests["hit_rate"].isna().all() != alone
    if alone:
        sums = steps.groupby("request")[["hits", "experts"]].sum()
        assert requests["hit_rate"].tolist() == (sums["hits"] / sums["experts"]).tolist()
