"""Figures of a trace, through the command line; their numbers by a plain loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_support import run_cli, small_trace

from prefetch_sim.experiments.plots.trace_figures import FIGURES, relative_use
from prefetch_sim.traces.format import write_trace
from prefetch_sim.traces.synthetic import synthesise


def test_every_figure_of_a_trace_with_predictions(tmp_path: Path) -> None:
    small_trace(tmp_path / "t.parquet")
    done = run_cli("plot", "--trace", tmp_path / "t.parquet", "--out", tmp_path / "figures")
    assert done.code == 0, done.err
    wanted = {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == wanted
    assert all(path.stat().st_size > 5000 for path in (tmp_path / "figures").iterdir())


def test_what_a_trace_lacks_is_skipped_with_its_reason(tmp_path: Path) -> None:
    from cli_support import MODEL

    trace = synthesise(MODEL, requests=2, prompt=3, decode=3, skew=1, reuse=0, seed=0)
    trace.weights = None
    write_trace(tmp_path / "t.parquet", trace)
    done = run_cli("plot", "--trace", tmp_path / "t.parquet", "--out", tmp_path / "figures")
    assert done.code == 0, done.err
    assert done.out.count("skipped") == 3
    assert {p.stem for p in (tmp_path / "figures").iterdir()} == {"expert_invocations"}


def test_many_layers_and_experts_stay_legible(tmp_path: Path) -> None:
    """48 x 128: no more lines than can be told apart."""
    from prefetch_sim.sim.config.models import load_model

    model = load_model("qwen3-30b-a3b")
    trace = synthesise(model, requests=1, prompt=20, decode=20, skew=1, reuse=0.3, seed=0)
    figure = FIGURES["expert_invocations"](trace)
    assert not isinstance(figure, str)
    assert len(figure.axes[1].lines) <= 6


def test_relative_use_by_a_loop(tmp_path: Path) -> None:
    trace = small_trace(tmp_path / "t.parquet")
    layers, experts, k = trace.model.topology
    for layer in range(layers):
        for expert in range(experts):
            uses = sum(expert in row for row in trace.experts[:, layer].tolist())
            wanted = uses / (trace.tokens * k / experts)
            assert relative_use(trace)[layer, expert] == pytest.approx(wanted)
    assert relative_use(trace).mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either a sweep's folder or --trace"),
        (("somewhere", "--trace", "mini-gpt-oss"), "either a sweep's folder or --trace"),
        (("--trace", "mini-gpt-os"), "mini-gpt-os"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = run_cli("plot", *arguments)
    assert (done.code, message in done.err) == (2, True), done.err
    assert done.err.count("\n") == 1


def test_figures_are_the_same_file_each_time(tmp_path: Path) -> None:
    small_trace(tmp_path / "t.parquet")
    for name in ("a", "b"):
        assert (
            run_cli("plot", "--trace", tmp_path / "t.parquet", "--out", tmp_path / name).code == 0
        )
    for path in (tmp_path / "a").glob("*.svg"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert np.isfinite(relative_use(small_trace(tmp_path / "u.parquet"))).all()
