"""Words of runs, sweeps, comparisons and figures where they were wrong or silent once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from cli_support import here, small_trace, write_config
from test_conclusions import GUESS, oracle, planted, point

import prefetch_sim as ps
from prefetch_sim.experiments.comparing.words import over_places
from prefetch_sim.experiments.conclusions.sweeps import of_sweep
from prefetch_sim.experiments.plots.arrange import arrange
from prefetch_sim.experiments.plots.curves import latency_vs_cache
from prefetch_sim.experiments.plots.figures import FIGURES
from prefetch_sim.experiments.plots.frame import read
from prefetch_sim.experiments.plots.own import draw
from prefetch_sim.experiments.plots.sheet import Sheet
from prefetch_sim.experiments.plots.words import title_of, value_words
from prefetch_sim.experiments.sweeps import points

SWEEP = Path(__file__).parents[1] / "experiments/results/recall_bandwidth"


def test_conditions_that_bear_out_the_other_way_are_counted_apart() -> None:
    times = {"a": (8.0, 0.0), "b": (10.5, 0.0), "c": (9.9, 3.0)}
    points = [
        point(planted(t, spread=spread, predictor=p), hardware=hardware)
        for hardware, (time, spread) in times.items()
        for t, spread, p in ((10.0, 0.0, ()), (time, spread, GUESS))
    ]
    (line,) = (line for line in of_sweep(points) if line.startswith("Against no prediction"))
    assert line.endswith(
        "1.0 % less (median of 3 conditions: 20.0 % less to 5.0 % more) "
        "(borne out by the requests in 1 of 3, the other way in 1, open in 1)."
    )


def test_imperfect_oracles_beside_none_can_be_told() -> None:
    """The lowest recall at which they pay says it; before, that it cannot be told was said too."""
    points = [point(planted(10.0))]
    points += [point(planted(t, predictor=oracle(r))) for r, t in ((0.5, 11.0), (0.9, 9.0))]
    lines = of_sweep(points)
    assert "An oracle begins to pay at a recall of:" in lines
    assert not any("cannot be told" in line for line in lines)


@pytest.mark.parametrize(
    ("trace", "policies", "said"),
    [("mini-gpt-oss", True, True), ("my.parquet", True, False), ("mini-gpt-oss", False, False)],
)
def test_whose_routing_it_is(trace: str, policies: bool, said: bool) -> None:
    """Of policies on a bundled trace alone."""
    points = [
        point(planted(10.0), hardware="a"),
        point(planted(9.0, predictor=GUESS if policies else ()), hardware="a" if policies else "b"),
    ]
    for one in points:
        one.result["config"]["trace"] = trace
    assert any("stand-in model" in line for line in of_sweep(points)) == said


def test_points_without_a_decode_token_are_told() -> None:
    points = [point(planted(10.0), hardware="a"), point(planted(9.0), hardware="b")]
    assert not any("No decode token" in line for line in of_sweep(points))
    for one in points:
        one.result["tpot_ms"]["mean"] = None
        one.result["decode_tokens_per_s"] = None  # type: ignore[index]
    assert of_sweep(points)[0].startswith("No decode token was run: times are those of the whole")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mended")
    small_trace(folder / "small.parquet")
    write_config(folder / "a.yaml")
    return folder


def test_a_run_of_prompts_alone_is_warned_of(folder: Path) -> None:
    warned = here("run", "a.yaml", "--set", "tokens=0:1", cwd=folder)
    assert "no decode token is run" in warned.stderr
    said = "tokens: 0:1 ends within the prompts, which are 64 tokens long"
    assert said in " ".join(warned.stderr.split())
    assert "no decode token" not in here("run", "a.yaml", cwd=folder).stderr


def test_a_sweep_of_prompts_alone_is_warned_of_before_it_runs(folder: Path) -> None:
    axes = {"cache": {"capacity": "50%"}, "sweep": {"tokens": ["0:4", "0:6"]}}
    config = write_config(folder / "prompts.yaml", trace="small.parquet", **axes)
    plan = points.plan(points.read(config, []), "prompts.yaml")
    assert next(points.doubts(plan)) == (
        "warning: no decode token is run at 1 of 2 points, so there is no TPOT: tokens: 0:4 ends "
        "within the prompts, which are 4 tokens long"
    )
    assert not any("no decode" in line for line in points.doubts(plan[1:]))


def test_a_sweeps_config_runs_once_its_sweep_is_taken_out(folder: Path) -> None:
    write_config(folder / "swept.yaml", trace="small.parquet", sweep={"seed": [0, 1]})
    refused = here("run", "swept.yaml", cwd=folder)
    assert (refused.returncode, "this config is a sweep" in refused.stderr) == (2, True)
    assert here("run", "swept.yaml", "--set", "sweep=null", cwd=folder).returncode == 0
    options = ("--set", "sweep=null", "--b", "cache.capacity=90%")
    assert here("compare", "swept.yaml", *options, cwd=folder).returncode == 0
    given = {"trace": str(folder / "small.parquet"), "sweep": {"seed": [0, 1]}}
    assert ps.run(given, sweep=None).results["config"]["seed"] == 0


def test_the_headline_names_a_prefetch_policy_that_is_not_the_usual(folder: Path) -> None:
    options = ("run", "a.yaml", "--set", "predictor=oracle")
    first, *_ = here(*options, cwd=folder).stdout.splitlines()
    assert "prefetch" not in first
    first, *_ = here(*options, "--set", "prefetch.policy=threshold", cwd=folder).stdout.splitlines()
    assert "predictor oracle, prefetch threshold, " in first


def test_compare_says_how_points_of_a_sweep_are_compared(folder: Path) -> None:
    shutil.copy(folder / "a.yaml", folder / "swept.yaml")
    with (folder / "swept.yaml").open("a", encoding="utf-8") as file:
        file.write("\nsweep: {seed: [1, 2]}\n")
    for option in ("predictor=none", "swept.yaml"):
        refused = here("compare", "swept.yaml", "--b", option, cwd=folder)
        assert refused.returncode == 2
        assert "'prefetch-sim compare --sweep DIR'" in refused.stderr


@pytest.mark.parametrize(
    ("dimension", "value", "words"),
    [
        ("cache.eviction", "__main__.Slru", "Slru"),
        ("cache.eviction", "slru.py half 3", "slru half 3"),
        ("cache.eviction", "lru.py", "lru.py"),  # not the one of the package
        ("cache.eviction", "_mine.py", " _mine"),
        ("predictor", "__main__._guess distance 2 + oracle", " _guess distance 2 + oracle"),
        ("prefetch.policy", "mine.py", "mine"),
        ("trace", "mine.py", "mine.py"),
    ],
)
def test_own_policies_by_their_names(dimension: str, value: str, words: str) -> None:
    assert value_words(dimension, value) == words


def renamed(frame: pd.DataFrame) -> pd.DataFrame:
    """Points without prediction, with names of one's own for three evictions of each."""
    frame = frame[frame["axis.predictor"] == "none"]
    parts = []
    for i, name in enumerate(("lru", "__main__.Slru", "_mine.py")):
        part = frame.assign(**{"config.cache.eviction.name": name, "axis.cache.eviction": name})
        part["name"] += f" {name}"
        part["tpot_ms.mean"] += i
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def test_evictions_have_colours_where_predictors_do_not_vary() -> None:
    results = read(renamed(pd.read_csv(SWEEP / "results.csv")))
    page = latency_vs_cache(results)
    assert isinstance(page, Sheet)
    (legend,) = page.legends
    assert [text.get_text() for text in legend.get_texts()] == ["LRU", "Slru", " _mine"]
    for panel in page.panels:
        assert len({str(line.get_color()) for line in panel.get_lines()}) == 3
    assert "no prefetch" in page.caption


@pytest.mark.parametrize("evictions", [3, 1])
def test_machines_are_compared_by_eviction_or_alone(evictions: int) -> None:
    frame = renamed(pd.read_csv(SWEEP / "results.csv"))
    frame = frame[frame["axis.hardware.host_link.gb_s"] == frame["axis.hardware.host_link.gb_s"][0]]
    other = frame.assign(**{"config.hardware.name": "l4", "axis.hardware": "l4"})
    other["name"] += " l4"
    both = pd.concat([frame.assign(**{"axis.hardware": "rtx-4090"}), other], ignore_index=True)
    if evictions == 1:
        both = both[both["axis.cache.eviction"] == "lru"]
    page = FIGURES["hardware_comparison"](read(both), 1.0)
    assert isinstance(page, Sheet)
    assert len(page.panels) == (2 if evictions == 3 else 1)  # no empty one
    assert all(panel.get_lines() for panel in page.panels)
    assert len(page.legends) == (evictions == 3)


def test_a_caption_does_not_count_the_predictor_that_is_compared_to() -> None:
    shown = arrange(read(SWEEP), "recall", "tpot_ms", ["gb_s"], (), "heat")
    assert shown.cut.fixed["predictor"] == title_of("predictor", shown.cut.values("predictor")[0])
    alone = arrange(
        read(SWEEP), "capacity", "tpot_ms", ["gb_s"], ["recall=1", "predictor=none"], None
    )
    assert alone.cut.fixed["predictor"] == "no prefetch (1 of 2 swept)"


def test_words_beside_a_colour_bar_are_no_longer_than_it() -> None:
    where = ["gb_s=12", "gb_s=25", "gb_s=50"]
    page = draw(SWEEP, "recall", "tpot_ms", ["gb_s"], where, "heat")
    page.draw_without_rendering()
    bar = page.axes[-1]
    words, box = bar.yaxis.label.get_window_extent(), page.bbox
    assert words.height <= 1.1 * bar.get_window_extent().height
    assert box.y0 <= words.y0 < words.y1 <= box.y1


def test_points_of_a_sweep_are_compared_in_python(folder: Path) -> None:
    config = {"trace": str(folder / "small.parquet"), "hardware": "rtx-4090"}
    axes = {"cache.capacity": ["30%", "60%"], "cache.eviction": ["lru", "fifo"]}
    swept = ps.sweep(config, sweep=axes, jobs=1)
    places = ps.compare(swept, a={"cache.eviction": "lru"}, b={"cache.eviction": "fifo"})
    assert [place.at for place in places] == [{"cache.capacity": "30%"}, {"cache.capacity": "60%"}]
    for place in places:
        more = {"cache.capacity": place.at["cache.capacity"]}
        one, other = (ps.run(config, {**more, "cache.eviction": e}) for e in ("lru", "fifo"))
        assert place.comparison.paired == ps.compare(one, other).paired
        assert place.comparison.said
    assert "are not independent of each other" in over_places([p.comparison for p in places])
    with pytest.raises(ps.ConfigError, match="did you mean 'lru'"):
        ps.compare(swept, a={"cache.eviction": "lur"}, b={"cache.eviction": "fifo"})
    with pytest.raises(ps.ConfigError, match="say what differs"):
        ps.compare(swept)
    with pytest.raises(ps.ConfigError, match="two runs"):
        ps.compare(config)  # type: ignore[call-overload]


def test_a_trace_is_one_line(folder: Path) -> None:
    said = repr(ps.load_trace(folder / "small.parquet"))
    assert "\n" not in said
    assert "3 requests" in said
