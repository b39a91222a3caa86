"""Figures: that they are there, that points are never mixed unseen, and why one is skipped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml
from cli_support import BASE, MODEL, ROOT, small_trace
from matplotlib.figure import Figure
from matplotlib.image import imread
from typer.testing import CliRunner

from prefetch_sim.experiments.cli import app
from prefetch_sim.experiments.plots import bars, curves
from prefetch_sim.experiments.plots.dimensions import told
from prefetch_sim.experiments.plots.figures import FIGURES, draw_all
from prefetch_sim.experiments.plots.frame import Cut, read
from prefetch_sim.experiments.plots.style import look
from prefetch_sim.experiments.sweeps import export, points
from prefetch_sim.experiments.sweeps.store import Store
from prefetch_sim.experiments.sweeps.worker import execute
from prefetch_sim.sim.config.errors import ConfigError

FULL = [
    {
        "predictor": ["none", "guess", "oracle"],
        "cache.eviction": ["lru", "belady"],
        "cache.capacity": ["30%", "60%"],
        "hardware": ["a100-pcie-40gb", "snapdragon-8"],
    },
    {"predictor": [{"name": "oracle", "recall": r} for r in (0.5, 0.75, 1.0)]},
    {"predictor": ["none", "oracle"], "hardware.host_link.gb_s": [20, 5, 10]},
]


def run_sweep(folder: Path, sweep: Any, **keys: Any) -> Path:
    """A finished sweep, run in this process."""
    small_trace(folder / "small.parquet", requests=1)
    tree = BASE | {"trace": str(folder / "small.parquet"), "cache": {"capacity": "30%"}} | keys
    plan = points.plan(tree | {"sweep": sweep}, "s.yaml")
    out = folder / "out"
    out.mkdir()
    with Store(out) as store:
        for point in plan:
            store.put(point.key, point.config.model_dump_json(), execute(*point.work))
        export.write(out, plan, store)
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_sweep(tmp_path_factory.mktemp("full"), FULL)


def drawn(draw: Any, cut: Cut) -> Figure:
    with look(1.0):
        figure = draw(cut)
    assert isinstance(figure, Figure), figure
    return figure


def texts(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


def test_every_figure_is_written_twice_and_shows_something(finished: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["plot", str(finished), "--out", str(tmp_path / "figures")])
    assert shown.exit_code == 0, shown.exception
    assert "skipped" not in shown.stdout
    for name in FIGURES:
        image = imread(tmp_path / "figures" / f"{name}.png")
        assert min(image.shape[:2]) > 300
        assert (image[..., :3] < 0.9).any(axis=-1).mean() > 0.005  # not blank
        root = ElementTree.parse(tmp_path / "figures" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 10


def test_figures_are_the_same_bytes_twice(finished: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        list(draw_all(finished, tmp_path / folder))
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_axes_have_units(finished: Path) -> None:
    for name, draw in FIGURES.items():
        figure = drawn(draw, read(finished))
        assert any(panel.get_xlabel() for panel in figure.axes), name
        assert any(panel.get_ylabel() or panel.get_yticklabels() for panel in figure.axes), name


def test_latency_vs_cache_draws_each_point_once(finished: Path) -> None:
    results = read(finished)
    figure = drawn(curves.latency_vs_cache, results)
    lines = {
        (a.get_title(loc="left"), l.get_label()): l for a in figure.axes for l in a.get_lines()
    }
    assert {key[0] for key in lines} == {
        f"{e} eviction, {machine}"
        for e in ("LRU", "Belady")
        for machine in ("a100-pcie-40gb", "snapdragon-8")
    }
    assert {key[1] for key in lines} == {"no prefetch", "guess", "oracle"}
    frame = results.frame
    for (title, predictor), line in lines.items():
        eviction, machine = title.split(" eviction, ")
        rows = frame[
            (frame["cache.eviction"] == eviction.lower())
            & (frame["predictor"] == predictor.replace("no prefetch", "none"))
            & (frame["hardware"] == machine)
            & (frame["hardware.host_link.gb_s"] == "none")
            & (frame["recall"].isna() | (frame["recall"] == 1))
        ].sort_values("cache.capacity")
        assert list(line.get_ydata()) == list(rows["tpot_ms.mean"])
    assert "oracle recall 1 (1 of 3 swept)" in texts(figure)


def test_each_kind_of_kernels_has_a_row_of_latency_vs_cache(tmp_path: Path) -> None:
    axes = {"cache.eviction": ["lru", "belady"], "cache.capacity": ["30%", "60%"]}
    results = read(run_sweep(tmp_path, {"runtime.kernels": ["fused", "eager"], **axes}))
    figure = drawn(curves.latency_vs_cache, results)
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == [f"{k} kernels" for k in ("fused", "eager")]  # evictions are lines
    for panel, title in zip(figure.axes, titles):
        frame = results.frame[results.frame["runtime.kernels"] == title.removesuffix(" kernels")]
        for line, eviction in zip(panel.get_lines(), ("lru", "belady"), strict=True):
            rows = frame[frame["cache.eviction"] == eviction].sort_values("cache.capacity")
            assert list(line.get_ydata()) == list(rows["tpot_ms.mean"])
    fused, eager = (panel.get_ylim() for panel in figure.axes)
    assert fused != eager


def test_kernels_of_no_curve_have_no_row(tmp_path: Path) -> None:
    axes = {"cache.capacity": ["30%", "60%"], "cache.eviction": ["lru", "belady"]}
    results = read(run_sweep(tmp_path, [axes, {"runtime.kernels": ["eager"]}]))
    figure = drawn(curves.latency_vs_cache, results)
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == [""]  # evictions are lines
    assert "fused kernels (1 of 2 swept)" in texts(figure)


def test_what_if_draws_swept_numbers_in_their_order(finished: Path) -> None:
    results = read(finished)
    figure = drawn(curves.what_if, results)
    (panel,) = figure.axes
    assert panel.get_xlabel() == "host link, GB/s"
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert set(lines) == {"no prefetch", "oracle"}
    for predictor, line in lines.items():
        name = predictor.replace("no prefetch", "none")
        rows = results.frame[results.frame["predictor"] == name]
        times = dict(zip(rows["hardware.host_link.gb_s"], rows["tpot_ms.mean"]))
        assert list(line.get_xdata()) == [5, 10, 20]
        assert list(line.get_ydata()) == [times["5"], times["10"], times["20"]]


@pytest.mark.parametrize(
    ("sweep", "why"),
    [
        (
            [{"context": [100], "runtime": [{"name": "ideal", "step_us": 3}]}, {"context": [400]}],
            "no predictor was run at several values of a number with all else alike",
        ),
        # A whole mapping is one axis, whatever stands in it.
        (
            {"misses": ["cpu", {"policy": "cheapest", "up_to": 5}, {"policy": "load", "up_to": 7}]},
            "needs several values of a number, such as hardware.host_link.gb_s",
        ),
    ],
)
def test_a_number_that_varies_with_something_else_is_no_line(
    tmp_path: Path, sweep: Any, why: str
) -> None:
    told = dict(draw_all(run_sweep(tmp_path, sweep), tmp_path / "figures"))
    assert told["what_if"] == why
    assert told["hit_rate_by_layer"] is None


def test_what_becomes_of_misses_is_compared_where_it_is_what_was_swept(tmp_path: Path) -> None:
    misses = ["load", "cpu", {"policy": "cheapest", "up_to": 5}]
    results = read(run_sweep(tmp_path, {"misses": misses}))
    assert results.others == ["misses"]
    (panel,) = drawn(bars.stall_breakdown, results).axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == ["load", "cpu", "cheapest up_to 5"]


def test_a_number_without_a_line_has_no_panel(tmp_path: Path) -> None:
    sweep = [
        {"hardware.host_link.gb_s": [5, 10]},
        {"misses": ["cpu", {"policy": "cheapest", "up_to": 5}]},
    ]
    (panel,) = drawn(curves.what_if, read(run_sweep(tmp_path, sweep))).axes
    assert panel.get_xlabel() == "host link, GB/s"


def test_a_capacity_that_varies_with_the_policy_is_no_line(tmp_path: Path) -> None:
    one = {"cache.eviction": ["lru"], "cache.capacity": ["30%"]}
    other = {"cache.eviction": ["belady"], "cache.capacity": ["60%"]}
    told = dict(draw_all(run_sweep(tmp_path, [one, other]), tmp_path / "figures"))
    assert told["latency_vs_cache"] == "no predictor and eviction were run at several capacities"


def test_latency_vs_recall_shows_bounds_that_hold(finished: Path) -> None:
    figure = drawn(curves.latency_vs_recall, read(finished))
    (panel,) = figure.axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    curve = lines["oracle degraded"]
    assert list(curve.get_xdata()) == [0.5, 0.75, 1.0]
    resident = lines["all resident"].get_ydata()[0]
    clairvoyant = lines["clairvoyant bound"].get_ydata()[0]
    assert 0 < resident <= clairvoyant <= min(curve.get_ydata())
    assert "no prefetch" in lines
    assert list(lines["guess (its recall)"].get_xdata()) == [1.0]


def test_stall_bars_add_up_to_the_time_of_the_run(finished: Path) -> None:
    results = read(finished)
    figure = drawn(bars.stall_breakdown, results)
    cut = results.held(("predictor", "cache.eviction", "hardware"))
    assert figure.axes[-1].get_xlabel() == "run time per output token, ms"  # prefill is in it
    for panel in figure.axes:
        ends = [patch.get_x() + patch.get_width() for patch in panel.patches]
        rows = cut.frame[cut.frame["hardware"] == panel.get_title(loc="left")]
        assert max(ends) == pytest.approx((1000 / rows["tokens_per_s"]).max(), rel=1e-4)


def test_a_figure_without_its_axes_is_skipped_with_the_reason(tmp_path: Path) -> None:
    out = run_sweep(tmp_path, {"predictor": ["none", "oracle"], "cache.scope": ["global", "layer"]})
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "latency_vs_cache.png").touch()  # an earlier sweep's
    told = dict(draw_all(out, tmp_path / "figures"))
    assert told["latency_vs_cache"] == "needs several values of cache.capacity"
    assert told["latency_vs_recall"] == "needs an oracle predictor at several values of recall"
    assert told["hardware_comparison"] == "needs several values of hardware"
    assert told["stall_breakdown"] is told["hit_rate_by_layer"] is None
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names == {"stall_breakdown", "hit_rate_by_layer"}
    held = read(out).held(("predictor",))
    assert len(held.frame) == 2
    assert "cache scope global (1 of 2 swept)" in held.fixed.values()


def test_holding_leaves_one_point_for_each_free_value(finished: Path) -> None:
    results = read(finished)
    for free in (("predictor",), ("cache.capacity", "cache.eviction"), ("hardware",)):
        cut = results.held(free)
        assert len(cut.frame) == len(cut.frame.drop_duplicates(list(free)))


def test_two_models_are_never_one_line(tmp_path: Path) -> None:
    wide = MODEL.model_copy(update={"name": "wide", "expert_hidden": 1024})
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(wide.model_dump(mode="json")))
    models = [None, str(tmp_path / "wide.yaml")]
    out = run_sweep(tmp_path, {"model": models, "cache.capacity": ["30%", "60%"]})
    results = read(out)
    assert results.values("model") == ["tiny", models[1]]
    figure = drawn(curves.latency_vs_cache, results)
    assert [panel.get_title(loc="left") for panel in figure.axes] == [
        "LRU eviction, tiny", "LRU eviction, wide.yaml",
    ]  # fmt: skip
    for panel in figure.axes:
        (line,) = panel.get_lines()
        assert len(line.get_xdata()) == 2
    (panel,) = drawn(bars.stall_breakdown, results).axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["tiny", "wide.yaml"]


def test_points_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    """Two capacities that the axis rounds to one; the same one written twice is no matter."""
    capacities = ["50%", {"experts": 16}, {"bytes": 12582912}, {"bytes": 12582913}]
    out = run_sweep(tmp_path, {"cache.capacity": capacities[:3]})
    assert len(read(out).frame) == 1
    shutil.rmtree(out)
    out = run_sweep(tmp_path, {"cache.capacity": capacities})
    with pytest.raises(ConfigError, match="cannot tell these points apart: '50%' and 'bytes"):
        read(out)


def test_a_degraded_oracle_is_not_shown_as_a_perfect_one(tmp_path: Path) -> None:
    oracle = {"name": "oracle", "recall": 0.5}
    out = run_sweep(tmp_path, {"predictor": ["none", oracle], "cache.capacity": ["30%", "60%"]})
    for draw in (curves.latency_vs_cache, bars.stall_breakdown, curves.hit_rate_by_layer):
        assert "oracle recall 0.5" in texts(drawn(draw, read(out)))


def test_a_figure_says_what_it_is_of(finished: Path) -> None:
    for name, draw in FIGURES.items():
        figure = drawn(draw, read(finished))
        shown = texts(figure) + "".join(panel.get_title(loc="left") for panel in figure.axes)
        assert "tiny; trace small.parquet" in shown, name
        assert name == "hardware_comparison" or "a100-pcie-40gb" in shown, name


def test_nothing_is_cut_off(tmp_path: Path) -> None:
    """A caption of many axes, and markers at the ends of the data."""
    sweep = {
        "prefetch.extra": [0, 1],
        "prefetch.policy": ["top-k", "threshold"],
        "cache.scope": ["global", "layer"],
        "runtime.overlap": ["per_expert", "grouped"],
        "cache.capacity": ["40%", "60%"],
        "predictor": ["none", "oracle"],
    }
    figure = drawn(curves.latency_vs_cache, read(run_sweep(tmp_path, sweep)))
    figure.draw_without_rendering()
    title, caption = (text.get_window_extent() for text in figure.texts)
    legend = figure.legends[0].get_window_extent()
    assert legend.y1 < title.y0 < title.y1 <= figure.bbox.y1
    assert caption.y0 >= 0
    assert max(caption.x1, legend.x1, title.x1) <= figure.bbox.x1
    for panel in figure.axes:
        box = panel.get_tightbbox()
        assert caption.y1 < box.y0 < box.y1 < legend.y0
        highest = max(max(line.get_ydata()) for line in panel.get_lines())
        assert panel.get_ylim()[1] > 1.04 * highest


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="finished sweep"):
        list(draw_all(tmp_path, tmp_path / "figures"))
    assert not (tmp_path / "figures").exists()


@pytest.mark.filterwarnings("error")
def test_a_table_of_many_columns_is_drawn_without_warnings(tmp_path: Path) -> None:
    """As a CSV is read: each column by itself."""
    frame = pd.read_csv(ROOT / "experiments/results/default/results.csv")
    frame = pd.concat([frame[[name]] for name in frame if name != "config.model.name"], axis=1)
    frame = pd.concat([frame, pd.DataFrame({f"x{i}": frame["model"] for i in range(60)})], axis=1)
    told(frame)
    for _, skipped in draw_all(ROOT / "experiments/results/default/results.csv", tmp_path, ["png"]):
        assert skipped is None or "needs" in skipped
