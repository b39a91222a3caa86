"""The committed studies: their pages say what the CSV files say, and these what the code gives."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from prefetch_sim.experiments import studies
from prefetch_sim.experiments.copy_or_cpu import report as copy_or_cpu
from prefetch_sim.experiments.documents import fill
from prefetch_sim.experiments.experts_on_gpu import report as experts_on_gpu
from prefetch_sim.experiments.questions import report as questions
from prefetch_sim.experiments.sweeps import points
from prefetch_sim.sim.config.files import parse_assignment
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.run import run

ROOT = Path(__file__).parents[1]
PAGES = {"copy-or-cpu": copy_or_cpu, "experts-on-gpu": experts_on_gpu, "questions": questions}
SWEEPS = [
    (report, name, len(studies.read(report.RESULTS, name)))
    for report in PAGES.values()
    for name in report.SWEEPS
]
AGAIN = {copy_or_cpu: 3, experts_on_gpu: 3, questions: 1}  # points of each sweep


@pytest.mark.parametrize("page", PAGES)
def test_the_page_shows_the_committed_results(page: str) -> None:
    report = PAGES[page]
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    assert fill(text, report.tables(report.read(report.RESULTS))) == text


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_linked_and_has_its_figures(page: str) -> None:
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    figures = sorted(PAGES[page].RESULTS.glob("*.png"))
    assert figures
    for figure in figures:
        assert f"../{figure.relative_to(ROOT.resolve())}" in text or f"/{figure.name})" in text
    assert f"docs/{page}.md" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("report", "name", "rows"), SWEEPS, ids=[name for _, name, _ in SWEEPS])
def test_every_point_was_run_and_some_come_out_again(
    report: ModuleType, name: str, rows: int
) -> None:
    """On the other engine, alone."""
    planned = studies.plan(report.SWEEPS[name])
    committed = studies.read(report.RESULTS, name)
    axes = list(planned[0].axes)
    assert [list(p.axes.values()) for p in planned] == committed[axes].to_numpy().tolist()
    again = AGAIN[report]
    for i in range(rows // (2 * again), rows, rows // again):
        config = planned[i].config.model_copy(update={"engine": "simpy"})
        found, wanted = run(RunConfig.model_validate(config.model_dump())), committed.loc[i]
        assert found["tpot_ms"]["mean"] == pytest.approx(wanted["ms"], abs=1e-4), planned[i].axes
        assert found["hit_rate"]["decode"] == pytest.approx(wanted["hit_rate"], abs=1e-4)


@pytest.mark.parametrize("name", experts_on_gpu.SWEEPS)
def test_each_layer_more_on_the_gpu_is_faster_and_gains_more(name: str) -> None:
    results = experts_on_gpu.read(experts_on_gpu.RESULTS)
    for card in experts_on_gpu.CARDS:
        speeds = results.by_layers(name, card)
        each = speeds.diff() / pd.Series(speeds.index, index=speeds.index).diff()
        assert (each.dropna() > 0).all(), card
        assert each.dropna().is_monotonic_increasing, card


def test_what_is_cached_is_what_was_named() -> None:
    """Layers that fill leave less than one layer, and the others fill as much."""
    results = experts_on_gpu.read(experts_on_gpu.RESULTS)
    for model in experts_on_gpu.MODELS:
        for card in experts_on_gpu.CARDS:
            fit = results.fit(model, card)
            assert fit.layers <= fit.room + 1e-2
            assert fit.room < fit.layers + 1.2  # Q4_K_M's layers are of two sizes
            assert fit.speed.keys() == fit.ideal.keys() == set(experts_on_gpu.PLACEMENTS)


def test_the_pages_way_to_put_in_a_cpu_of_ones_own() -> None:
    config = copy_or_cpu.SWEEPS["machines"]
    text = (ROOT / "docs/copy-or-cpu.md").read_text(encoding="utf-8")
    assignment = text.partition("--set '")[2].partition("'")[0]
    planned = points.plan(points.read(config, [parse_assignment(assignment)]), str(config))
    assert {point.config.hardware.params["cpu"]["name"] for point in planned} == {"ryzen-9900x"}


def test_where_it_turns_is_read_along_straight_lines_in_the_logarithms() -> None:
    surface = pd.DataFrame({10.0: [0.5, 2.0], 20.0: [1.0, 2.0], 40.0: [0.1, 0.9]}, index=[10, 40])
    assert copy_or_cpu.turn(surface, 10.0) == pytest.approx(20)
    assert copy_or_cpu.turn(surface, 20.0) == 0
    assert copy_or_cpu.turn(surface, 40.0) == float("inf")


def test_what_the_questions_page_says_of_its_tables() -> None:
    """Beyond the tables: a lap, and the signs that its sentences rest on."""
    results = questions.read(questions.RESULTS)
    sizes = results["cache_size"].set_index("cache.capacity")["hit_rate"]
    assert sizes["6%"] == 0 < sizes["7%"]  # a lap is 6.25 %
    turns = questions.turns(results["recall"])
    assert all(turns["15%", link] == 0 for link in ("6", "12", "25", "50"))
    at_40 = [turns["40%", link] for link in ("6", "12", "25", "50")]
    assert at_40 == sorted(at_40, reverse=True)  # a faster link forgives more
    assert 0.5 < at_40[-1] < at_40[0] < 0.9
