"""The committed cross-check against arXiv 2511.10676 is what the code still gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from cli_support import call

from prefetch_sim.experiments.documents import fill
from prefetch_sim.experiments.paper_check import plan, report, timings, tpot
from prefetch_sim.experiments.paper_check.paper import ENTROPY, EXACT, PREDICTOR_MS, miss_ms
from prefetch_sim.sim.config.files import Tree, parse
from prefetch_sim.sim.setup import inputs as read
from prefetch_sim.traces.info import expert_use, normalised_entropy

DOCUMENT = Path(__file__).parents[1] / "docs" / "paper-check.md"
PLAN = plan.read_plan()
COMMITTED = report.read(report.RESULTS)
SAME_LAYER = [
    name
    for name, keys in PLAN["predictors"].items()
    if "cost_us" in keys.get("predictor", {}) and "distance" not in keys["predictor"]
]


def same(rows: list[dict[str, Any]], committed: pd.DataFrame) -> None:
    fresh = pd.DataFrame(rows)[list(committed.columns)].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        fresh, committed.reset_index(drop=True), check_dtype=False, check_exact=True
    )


def test_operators_are_as_committed() -> None:
    same(timings.operators(), COMMITTED.operators)


def test_loads_are_as_committed_and_within_ten_percent() -> None:
    rows = timings.loads(PLAN)
    same(rows, COMMITTED.loads)
    checked = [row for row in rows if row["link"] == "check"]
    assert len(checked) == 6
    for row in checked:
        assert abs(row["deviation_pct"]) <= 10, row


def test_windows_are_as_committed() -> None:
    same(timings.windows(PLAN), COMMITTED.windows)


def test_pinned_load_is_its_bytes_over_the_link() -> None:
    """Six experts of 3 · 2048 · 1408 bf16 weights; the first alone pays the isolated α."""
    size = 3 * 2048 * 1408 * 2
    expected = [round(17_000 + size / 25.5), *[round(2_000 + size / 25.5)] * 5]
    simulated = timings.load_ms(PLAN, "a100-pcie-80gb", "pinned")
    assert round(simulated * 1e6) == sum(expected)


@pytest.mark.parametrize(
    ("device", "runtime", "predictor", "variant"),
    [
        ("a100-pcie-40gb", "eager", "none", "pinned"),
        ("a100-pcie-80gb", "eager", "next-layer", "pinned"),
        ("v100-sxm2-32gb", "fused", "arch1", "cache 25 %"),
        ("a100-pcie-80gb", "eager", "arch1+4", "disk"),
    ],
)
def test_tpot_is_as_committed(device: str, runtime: str, predictor: str, variant: str) -> None:
    row = tpot.measure(plan.point(PLAN, device, runtime, variant, predictor))
    wanted = COMMITTED.run(device, runtime, predictor, variant)
    for column, value in row.items():
        if value is None:
            assert pd.isna(wanted[column]), column
        else:
            assert wanted[column] == value, column


def test_every_point_of_the_plan_was_run() -> None:
    keys = ["device", "runtime", "variant", "predictor"]
    planned = [tuple(getattr(p, key) for key in keys) for p in plan.points(PLAN)]
    assert len(set(planned)) == len(planned)
    assert planned == list(COMMITTED.tpot[keys].itertuples(index=False, name=None))


def test_the_document_shows_the_committed_tables() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert fill(text, report.tables(COMMITTED)) == text


def test_synthetic_routing_has_the_papers_entropy() -> None:
    """Over 300 tokens and the first 9 layers, as in its Fig. 2."""
    tree: Tree = {"trace": {**PLAN["base"]["trace"], "decode": 300}}
    trace = read.load(parse(tree, "test")).workload.trace
    entropy = float(normalised_entropy(expert_use(trace))[:9].mean())
    assert entropy == pytest.approx(ENTROPY, abs=0.001)


@pytest.mark.parametrize(("predictor", "name"), [("arch1", "Arch 1"), ("arch2", "Arch 2")])
def test_predictors_have_the_papers_exact_sets(predictor: str, name: str) -> None:
    """2600 sets: a standard error of 0.5 points."""
    row = COMMITTED.run("v100-sxm2-32gb", "eager", predictor)
    assert row["exact_set"] == pytest.approx(EXACT[name], abs=0.01)


def test_the_papers_savings_follow_from_its_arithmetic() -> None:
    """Fate's 0.85–2.01 ms a token are 21.21 % of the pinned loads of 4.0 and 9.5 ms."""
    assert miss_ms(EXACT["Fate"], 4.0) == pytest.approx(0.85, abs=0.005)
    assert miss_ms(EXACT["Fate"], 9.5) == pytest.approx(2.01, abs=0.005)


@pytest.mark.parametrize("device", report.SHORT)
def test_prefetch_in_the_same_layer_saves_its_window_and_no_more(device: str) -> None:
    """Eager and all predictions right: window less the predictor, in each layer."""
    windows = COMMITTED.windows
    row = windows[(windows["device"] == device) & (windows["runtime"] == "eager")].iloc[0]
    expected = report.MOE_LAYERS * (row["window_ms"] - PREDICTOR_MS)
    saved = COMMITTED.ms(device, "eager", "none") - COMMITTED.ms(device, "eager", "perfect")
    assert saved == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("device", report.SHORT)
def test_fused_no_same_layer_answer_comes_in_time(device: str) -> None:
    assert len(SAME_LAYER) == 8
    none = COMMITTED.ms(device, "fused", "none")
    for name in SAME_LAYER:
        assert COMMITTED.ms(device, "fused", name) == none, name


def test_a_row_of_the_plan_is_a_config_that_anyone_can_run(tmp_path: Path) -> None:
    keys = PLAN["base"] | PLAN["runtimes"]["eager"] | PLAN["predictors"]["arch1"]
    config = tmp_path / "row.yaml"
    config.write_text(yaml.safe_dump(keys | {"hardware": "a100-pcie-80gb"}), encoding="utf-8")
    done = call("run", config, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tpot_ms = json.loads(done.stdout)["tpot_ms"]["mean"]
    assert round(tpot_ms, 3) == COMMITTED.ms("a100-pcie-80gb", "eager", "arch1")


def test_two_link_rates_differ_only_in_the_link() -> None:
    slow = plan.point(PLAN, "a100-pcie-40gb", "fused", "pinned", "none").config
    fast = plan.point(PLAN, "a100-pcie-40gb", "fused", "link x2", "none").config
    rates = [read.load(config).profile.host_link for config in (slow, fast)]
    assert [rate.gb_s.value for rate in rates if rate] == [12.35, 24.7]
    assert [rate.isolated_us.value for rate in rates if rate] == [28, 28]
