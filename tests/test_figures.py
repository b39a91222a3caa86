"""Figures of one's own: no axis is dropped, numbers are the table's, intervals over requests."""

from __future__ import annotations

import json
import shlex
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_support import ROOT, here, run_cli
from matplotlib.contour import QuadContourSet
from matplotlib.text import Text

from prefetch_sim.experiments.plots import bars
from prefetch_sim.experiments.plots.frame import read
from prefetch_sim.experiments.plots.labels import pairs
from prefetch_sim.experiments.plots.measures import ENOUGH, measure
from prefetch_sim.experiments.plots.own import draw
from prefetch_sim.experiments.plots.sheet import Sheet
from prefetch_sim.experiments.plots.style import look
from prefetch_sim.experiments.plots.words import axis_words, measure_words, title_of
from prefetch_sim.experiments.sweeps.points import plan
from prefetch_sim.experiments.sweeps.points import read as read_sweep
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.run import run

LINK = "hardware.host_link.gb_s"
RECALLS: list[Any] = ["none", 0.5, 0.75, 1.0]
BASE = {
    "model": "tiny",
    "config.trace": "a.parquet",
    "config.hardware.name": "l4",
    "config.cache.eviction.name": "lru",
    "config.batch_size": 1,
}


def predictor_of(value: Any) -> list[dict[str, Any]]:
    if value == "none":
        return []
    return [{"name": "oracle", "recall": value}] if isinstance(value, float) else [{"name": value}]


def results(requests: int = 0, **axes: list[Any]) -> pd.DataFrame:
    """The table of a sweep over the product of ``axes`` (``__`` for a dot), with made-up times."""
    axes = {path.replace("__", "."): values for path, values in axes.items()}
    generator = np.random.default_rng(1)
    tokens = generator.integers(5, 20, requests)
    rows = []
    for number, values in enumerate(product(*axes.values())):
        point = dict(zip(axes, values))
        predictor, share = point.get("predictor", "none"), point.get("cache.capacity", 20) / 100
        recall = 0.7 if predictor == "none" else predictor if isinstance(predictor, float) else 0.9
        tpot = (100 + number) * (1 - share) * (1.7 - recall) * 12 / point.get(LINK, 12)
        each = tpot * generator.uniform(0.8, 1.2, requests)
        row = {
            **BASE,
            "name": ", ".join(map(str, values)),
            "config.predictor": json.dumps(predictor_of(predictor)),
            "cache.share": share,
            "cache.bytes": round(1e6 * share),
            "tpot_ms.mean": float(each @ tokens / tokens.sum()) if requests else tpot,
            "tokens_per_s": 900 / tpot,
            "total_ms": 50 * tpot,
            "hit_rate.all": share,
            **{f"axis.{path}": str(value) for path, value in point.items()},
            **{f"config.{path}": value for path, value in point.items() if path in (LINK, "seed")},
        }
        if requests:
            row |= {"by_request.tpot_ms": list(each), "by_request.output_tokens": list(tokens)}
        rows.append(row)
    return pd.DataFrame(rows)


def test_lines_are_the_numbers_of_the_table() -> None:
    table = results(predictor=RECALLS, cache__capacity=[10, 40])
    figure = draw(table, x="recall", by="capacity")
    (panel,) = figure.axes
    for share, label in ((0.1, "10"), (0.4, "40")):
        rows = table[(table["cache.share"] == share) & (table["config.predictor"] != "[]")]
        (line,) = (one for one in panel.get_lines() if one.get_label() == label)
        assert list(line.get_xdata()) == [0.5, 0.75, 1.0]
        assert list(line.get_ydata()) == list(rows["tpot_ms.mean"])
        alone = table[(table["cache.share"] == share) & (table["config.predictor"] == "[]")]
        (beside,) = (
            one
            for one in panel.get_lines()
            if len(one.get_ydata()) == 2 and one.get_ydata()[0] == alone["tpot_ms.mean"].item()
        )
        assert beside.get_linestyle() == "--"
    assert panel.get_xlabel() == "slot recall of the predictor"
    assert panel.get_ylabel() == "time per output token, ms"
    assert figure.legends[0].get_title().get_text() == "experts cached, %"
    assert "6 of the sweep's 8 points" in figure.caption


def test_axes_left_over_become_panels_that_share_their_scale() -> None:
    table = results(predictor=RECALLS, cache__capacity=[10, 40], hardware__host_link__gb_s=[12, 25])
    figure = draw(table, x="recall", by=LINK)
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == ["10 % of experts cached", "40 % of experts cached"]
    assert len({panel.get_ylim() for panel in figure.axes}) == 1
    rows = draw(table, x="recall", by=["predictor", LINK, "cache.capacity"])
    assert len(rows.axes) == 4


def test_an_axis_without_a_place_is_refused_with_what_to_give() -> None:
    table = results(
        predictor=RECALLS, cache__capacity=[10, 40], hardware__host_link__gb_s=[12, 25], seed=[1, 2]
    )
    table["config.cache.scope"] = ["global", "layer"] * (len(table) // 2)
    table["axis.cache.scope"] = table["config.cache.scope"]
    table = pd.concat([table, table.assign(**{
        "axis.cache.scope": table["axis.cache.scope"].map({"global": "layer", "layer": "global"}),
        "config.cache.scope": table["axis.cache.scope"].map({"global": "layer", "layer": "global"}),
        "tpot_ms.mean": 2 * table["tpot_ms.mean"], "total_ms": 2 * table["total_ms"],
    })])  # fmt: skip
    with pytest.raises(ConfigError) as refused:
        draw(table, x="recall")
    for axis in (LINK, "seed", "cache.scope", "cache.capacity"):
        assert f"--where '{axis}=" in str(refused.value)
    figure = draw(table, x="recall", where={"seed": 1})
    assert "seed 1 (1 of 2 swept)" in figure.caption


def test_a_heat_map_has_each_point_in_its_cell_and_says_where_prefetch_pays() -> None:
    table = results(
        predictor=RECALLS, hardware__host_link__gb_s=[6, 12, 25], cache__capacity=[10, 40]
    )
    figure = draw(table, x="recall", by=[LINK], kind="heat")
    *panels, bar = figure.axes
    assert [p.get_title(loc="left") for p in panels] == [
        "10 % of experts cached", "40 % of experts cached",
    ]  # fmt: skip
    for panel, share in zip(panels, (0.1, 0.4)):
        (image,) = panel.get_images()
        rows = table[(table["cache.share"] == share) & (table["config.predictor"] != "[]")]
        wanted = rows["tpot_ms.mean"].to_numpy().reshape(3, 3).T
        assert np.array_equal(np.asarray(image.get_array()), wanted)
        assert image.get_clim() == panels[0].get_images()[0].get_clim()
        assert any(isinstance(one, QuadContourSet) for one in panel.collections)
        assert [t.get_text() for t in panel.get_xticklabels()] == ["0.5", "0.75", "1"]
    assert [t.get_text() for t in panels[0].get_yticklabels()] == ["6", "12", "25"]
    assert bar.get_ylabel().split() == ["time", "per", "output", "token,", "ms"]
    assert "white line: as without prefetch" in figure.caption


@pytest.mark.parametrize(
    "x", ["predictor.older", "predictor.0.older", "axis.predictor.older", "older"]
)
def test_a_number_of_a_predictor_is_an_axis_as_recall_is(x: str) -> None:
    frame = results(predictor=["none", 0.5, 0.75, 1.0], cache__capacity=[20, 40])
    given = [json.loads(text) for text in frame["config.predictor"]]
    frame["config.predictor"] = [
        json.dumps([{"name": "mine.py", "older": int(4 * p[0]["recall"])}] if p else [])
        for p in given
    ]
    (panel,) = draw(frame, x, where={"cache.capacity": 20}).panels
    line = panel.lines[0]
    assert list(line.get_xdata()) == [2, 3, 4]
    rows = frame[(frame["cache.share"] == 0.2) & (frame["config.predictor"] != "[]")]
    assert list(line.get_ydata()) == list(rows["tpot_ms.mean"])
    assert panel.lines[-1].get_label() == "no prefetch"
    shown = draw(frame, "capacity", by=x)
    assert "predictor older" in " ".join(text.get_text() for text in shown.findobj(Text))
    held = draw(frame, "capacity", where=["older=3", "predictor=mine.py"]).panels[0]
    assert len(held.lines) == 1
    with pytest.raises(ConfigError, match=r"did you mean 'predictor\.older'\?"):
        draw(frame, "predictor.oldest")


LOW, HIGH = 0.9, 1.1  # of the time without prefetch


@pytest.mark.parametrize(
    ("ratios", "measure", "words"),  # a row a link, from 6 GB/s up, of recalls 0.5, 0.75 and 1
    [
        ([[HIGH, LOW, LOW], [LOW] * 3, [LOW] * 3], "tpot_ms",
         "faster than without prefetch, but slower at recall 0.5 with host link 6 GB/s"),
        ([[1, 1, 1], [HIGH, HIGH, LOW], [HIGH, LOW, LOW]], "tpot_ms", "LINE at host link 6 GB/s"),
        ([[1, HIGH, LOW], [1, 1, 1], [1, 1, 1]], "tpot_ms",
         "as fast as without prefetch, but faster at recall 1 with host link 6 GB/s, "
         "slower at recall 0.75 with host link 6 GB/s"),
        ([[1, 1, 1]] * 3, "tpot_ms", "as fast as without prefetch throughout"),
        # As conclusions count: below 0.5 % of a time there is no difference; of other figures, any.
        ([[1.004, LOW, LOW], [0.996, LOW, LOW], [LOW] * 3], "tpot_ms",
         "faster than without prefetch, but as fast at recall 0.5 with host link 6, 12 GB/s"),
        ([[1.004] * 3] * 3, "hit_rate", "higher than without prefetch throughout"),
        ([[1.006] * 3] * 3, "tpot_ms", "slower than without prefetch throughout"),
        ([[1, 1, LOW], [LOW] * 3, [LOW] * 3], "tpot_ms",
         "faster than without prefetch, but as fast at recall 0.5, 0.75 with host link 6 GB/s"),
        ([[1, LOW, LOW]] * 3, "tpot_ms", "faster than without prefetch, but as fast at recall 0.5"),
        ([[HIGH] * 3, [1] * 3, [1] * 3], "hit_rate",
         "as high as without prefetch, but higher at host link 6 GB/s"),
        ([[HIGH] * 3] * 3, "decode_tokens_per_s", "slower than without prefetch throughout"),
        ([[None, LOW, LOW], [LOW] * 3, [LOW] * 3], "tpot_ms",
         "faster than without prefetch where that was run"),
    ],
)  # fmt: skip
def test_a_heat_map_without_a_line_says_which_cells_are_on_which_side(
    ratios: list[list[float | None]], measure: str, words: str
) -> None:
    """A line round a single cell is a speck beside its number; what is alike is on no side."""
    frame = results(predictor=["none", 0.5, 0.75, 1.0], hardware__host_link__gb_s=[6, 12, 25])
    by_link: list[list[float | None]] = [[1.0, *row] for row in ratios]
    factors = [row[recall] for recall in range(4) for row in by_link]
    frame["tpot_ms.mean"] = frame["hit_rate.all"] = [f and 0.5 * f for f in factors]
    frame = frame[frame["tpot_ms.mean"].notna()]
    figure = draw(frame, "recall", measure, by=LINK, kind="heat")
    lines = [one for one in figure.panels[0].collections if isinstance(one, QuadContourSet)]
    assert bool(lines) == words.startswith("LINE")
    alike = "white line: as without prefetch; as fast as without prefetch"
    assert figure.caption.endswith(words.replace("LINE", alike)), figure.caption
    if "at recall" in words:
        called = draw(frame, "recall", measure, by=LINK, kind="heat", labels={"recall": "accuracy"})
        assert words.replace("recall", "accuracy") in called.caption


def test_each_panel_of_a_heat_map_has_a_line_or_a_word() -> None:
    frame = results(
        predictor=RECALLS, hardware__host_link__gb_s=[6, 12, 25], cache__capacity=[10, 40, 80]
    )
    none, share = frame["config.predictor"] == "[]", frame["cache.share"]
    frame.loc[share == 0.4, "tpot_ms.mean"] = 7.0
    frame = frame[~none | (share < 0.8)]
    alone = draw(frame[frame["config.predictor"] != "[]"], "recall", by=LINK, kind="heat")
    assert "without prefetch" not in alone.caption
    caption = draw(frame, "recall", by=LINK, kind="heat").caption
    for words in (
        "white line: as without prefetch", "80 % of experts cached: not run without prefetch",
        "40 % of experts cached: as fast as without prefetch throughout",
    ):  # fmt: skip
        assert words in caption


LABELS = {"lfu_da.py": "LFU-DA", "cache.capacity": "cached, %", "none": "on demand", "b": "B b"}


def test_a_figure_calls_things_by_a_users_labels() -> None:
    frame = results(predictor=["none", "a", "b"], cache__capacity=[20, 40])
    frame["config.cache.eviction.name"] = frame["axis.cache.eviction"] = "lfu_da.py"
    shown = draw(frame, "capacity", where=["predictor=none", "predictor=b"], labels=LABELS)
    (panel,) = shown.panels
    assert [line.get_label() for line in panel.lines] == ["on demand", "B b"]
    assert panel.get_xlabel() == "cached, %"
    assert "LFU-DA eviction" in shown.caption
    assert "lfu_da eviction" in draw(frame, "capacity").caption  # no longer
    called = draw(frame, "capacity", labels={"cache.eviction": "replacement"})
    assert "replacement lfu_da" in called.caption
    frame["config.predictor"] = [
        text.replace('"b"', '"b", "k": 2') for text in frame["config.predictor"]
    ]
    (panel,) = draw(frame, "capacity", labels={"b": "_B"}).panels
    assert " _B k 2" in [line.get_label() for line in panel.lines]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (
            ["lfu_de.py=LFU"],
            "--label 'lfu_de.py': nothing in the figure is called so; did you mean",
        ),
        (["a=X", "b=X"], "--label: 'X' is given twice, and could not be told apart"),
        (["a=X", "a=Y"], "--label 'a=Y': 'a' is given twice"),
        (["a="], "--label 'a=': write OLD=NEW"),
    ],
)
def test_labels_that_cannot_be(label: list[str], says: str) -> None:
    frame = results(predictor=["none", "a", "b"], cache__capacity=[20, 40])
    frame["config.cache.eviction.name"] = frame["axis.cache.eviction"] = "lfu_da.py"
    with pytest.raises(ConfigError) as refused:
        draw(frame, "capacity", labels=pairs(label))
    assert str(refused.value).startswith(says)


def test_a_value_of_two_axes_needs_the_axis_in_its_label() -> None:
    """The link's 40 GB/s, and 40 % of experts cached."""
    frame = results(predictor=RECALLS, cache__capacity=[20, 40], hardware__host_link__gb_s=[40, 60])

    def shown(label: str) -> tuple[list[str], list[str]]:
        """What the links are called, and the titles of panels."""
        page = draw(frame, "recall", by=[LINK], kind="heat", labels={label: "slow"})
        panels = page.panels[:2]
        links = [tick.get_text() for tick in panels[0].get_yticklabels()]
        return links, [panel.get_title("left") for panel in panels]

    with pytest.raises(ConfigError) as refused:
        shown("40")
    says = f"--label '40': a value of cache.capacity and of {LINK}; write 'cache.capacity:40'"
    assert str(refused.value) == says
    cached = ["20 % of experts cached", "40 % of experts cached"]
    assert shown(f"{LINK}:40") == (["slow", "60"], cached)
    assert shown("cache.capacity:40") == (["40", "60"], [cached[0], "slow % of experts cached"])


def test_without_its_caption_a_figure_is_lower_by_it() -> None:
    frame = results(predictor=["none", "a"], cache__capacity=[20, 40])
    whole, bare = (draw(frame, "capacity", caption=caption) for caption in (True, False))
    assert whole.caption == bare.caption
    assert whole.get_figheight() - bare.get_figheight() > 0.1
    for page in (whole, bare):
        page.draw_without_rendering()
    assert all(text.get_text() != whole.caption for text in bare.findobj(Text))
    tall = [page.panels[0].get_window_extent().height for page in (whole, bare)]
    assert tall[0] == pytest.approx(tall[1], rel=0.02)


def test_labels_and_no_caption_on_the_command_line(tmp_path: Path) -> None:
    results(predictor=["none", "a"], cache__capacity=[20, 40]).to_csv(tmp_path / "r.csv")
    options = ("--x", "capacity", "--label", "a = Mine", "--no-caption", "--out", "f.svg")
    done = here("plot", "r.csv", *options, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    drawn = (tmp_path / "f.svg").read_text()
    assert "Mine" in drawn
    assert "a.parquet" in done.stdout
    assert "a.parquet" not in drawn


def test_letters_that_the_font_has_not_are_one_line(tmp_path: Path) -> None:
    results(predictor=["none", "a"], cache__capacity=[20, 40]).to_csv(tmp_path / "r.csv")
    options = ("--x", "capacity", "--label", "a=漢字漢", "--out", "f.png")
    done = here("plot", "r.csv", *options, cwd=tmp_path)
    says = "warning: the figures' font has no 漢 字; a box stands for each\n"
    assert (done.returncode, done.stderr) == (0, says)


def test_lines_upon_one_another_are_told_apart() -> None:
    frame = results(predictor=["none", "a", "b", "c"], cache__capacity=[20, 40])
    of = {name: frame["config.predictor"].str.contains(f'"{name}"') for name in "abc"}
    frame.loc[of["b"], "tpot_ms.mean"] = 1.001 * frame.loc[of["a"], "tpot_ms.mean"].to_numpy()
    frame.loc[of["c"], "tpot_ms.mean"] = 2 * frame.loc[of["a"], "tpot_ms.mean"].to_numpy()
    (panel,) = draw(frame, "capacity").panels
    styles = {
        line.get_label(): (line.get_linestyle(), line.get_fillstyle()) for line in panel.lines
    }
    assert styles["a"] == styles["c"] == ("-", "full")
    assert styles["b"] == ("--", "none")


def test_captions_name_what_no_axis_tells() -> None:
    frame = results(predictor=["none", 1.0], cache__capacity=[20, 40])
    frame["config.prefetch.policy"], frame["runtime.name"] = "top-k", "vllm"
    frame["config.precision.experts"] = frame["config.precision.attention"] = "int4"
    caption = draw(frame, "capacity").caption
    assert "prefetch top-k; precision int4; runtime vllm" in caption
    assert "LRU eviction" in caption
    static = {"cache.static.bytes": frame["cache.bytes"] - 1, "cache.static.experts": 4}
    assert "LRU" not in draw(frame.assign(**static), "capacity").caption  # nothing can leave
    assert axis_words("hardware.compute.memory_gib") == "GPU memory, GiB"


def test_the_axis_of_machines_ends_near_its_points() -> None:
    axes: dict[str, Any] = {"hardware": ["a", "b"], "predictor": ["none", "guess"]}
    for times in ((100.0, 110.0), (10.0, 4000.0)):
        frame = results(requests=ENOUGH, **axes)
        frame["config.hardware.name"] = frame["axis.hardware"]
        frame["tpot_ms.mean"] = np.repeat(times, 2)
        with look(1.0):
            figure = bars.hardware_comparison(read(frame))
        assert isinstance(figure, Sheet)
        low, high = figure.panels[0].get_xlim()
        assert times[0] / 2 < low < times[0]
        assert times[1] < high < 2 * times[1]
        assert len([t for t in figure.panels[0].get_xticks() if low <= t <= high]) >= 2


def test_names_are_dots_beside_them() -> None:
    table = results(predictor=["none", "guess", "other"], cache__capacity=[10, 40])
    figure = draw(table, x="predictor", y="decode_tokens_per_s", by="cache.capacity")
    (panel,) = figure.axes
    assert [t.get_text() for t in panel.get_yticklabels()] == ["no prefetch", "guess", "other"]
    assert panel.get_xlabel() == "decode, tokens/s"
    (line,) = (one for one in panel.get_lines() if one.get_label() == "10")
    rows = table[table["cache.share"] == 0.1]
    assert list(line.get_xdata()) == pytest.approx(list(1000 / rows["tpot_ms.mean"]))


def test_intervals_are_those_of_a_plain_loop() -> None:
    table = results(requests=12, cache__capacity=[10, 40])
    low, high, counts = measure(table, "tpot_ms").interval(table)
    assert counts == [12, 12]
    generator = np.random.default_rng(7)
    for row in range(2):
        each = np.array(table["by_request.tpot_ms"][row])
        tokens = np.array(table["by_request.output_tokens"][row])
        means = []
        for _ in range(4000):
            drawn = generator.integers(0, 12, 12)
            means.append(each[drawn] @ tokens[drawn] / tokens[drawn].sum())
        wanted = np.quantile(means, [0.025, 0.975])
        # As they are, and wider by what few requests ask for.
        assert 1 < (high[row] - low[row]) / (wanted[1] - wanted[0]) < 1.3
        assert (high[row] + low[row]) / 2 == pytest.approx(wanted.mean(), rel=0.01)
        assert low[row] < table["tpot_ms.mean"][row] < high[row]
    slow, fast, _ = measure(table, "decode_tokens_per_s").interval(table)
    assert slow == pytest.approx(1000 / high)
    assert fast == pytest.approx(1000 / low)


def test_few_requests_have_no_interval_and_requests_without_tokens_do_not_count() -> None:
    few = results(requests=ENOUGH - 1, cache__capacity=[10, 40])
    assert "no intervals: fewer than 8 requests" in draw(few, x="cache.capacity").caption
    enough = results(requests=ENOUGH, cache__capacity=[10, 40])
    assert "over 8 requests" in draw(enough, x="cache.capacity").caption
    enough.at[0, "by_request.tpot_ms"][0] = None
    assert measure(enough, "tpot_ms").interval(enough)[2] == [ENOUGH]
    assert "interval" not in draw(enough, x="cache.capacity", y="hit_rate").caption


def test_tokens_a_second_stand_beside_milliseconds() -> None:
    table = results(cache__capacity=[10, 40])
    (panel,) = draw(table, x="cache.capacity").axes
    (beside,) = panel.child_axes
    assert beside.get_ylabel() == "tokens/s"
    for at, label in zip(beside.get_yticks(), beside.get_yticklabels()):
        assert 1000 / at == pytest.approx(float(label.get_text()))
    together = table.assign(**{"config.batch_size": 4})  # a request's rate is not the machine's
    assert not draw(together, x="cache.capacity").axes[0].child_axes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "--x: which axis goes along x? swept: hardware.host_link.gb_s (2 values)"),
        ({"x": "hardware.host_link.gbs"}, "did you mean 'hardware.host_link.gb_s'?"),
        ({"x": "nonsense"}, "no axis of this sweep; swept: hardware.host_link.gb_s (2 values)"),
        ({"x": "cache.eviction"}, "--x cache.eviction: has one value, LRU, here; swept: "),
        ({"x": "recall", "y": "tpot_msec"}, "no measure of these results; did you mean 'tpot_ms"),
        ({"x": "recall", "by": "recal"}, "did you mean 'recall'?"),
        ({"x": "recall", "by": ["gb_s", LINK]}, "hardware.host_link.gb_s is given twice"),
        ({"x": "recall", "where": ["gb_s"]}, "write PATH=VALUE"),
        ({"x": "recall", "where": {"gb_s": 7}}, "--where hardware.host_link.gb_s=7: not swept"),
        ({"x": "recall", "kind": "pie"}, "--kind 'pie' is none; known: heat, lines"),
        ({"x": "recall", "size": "poster"}, "--size 'poster' is none; known: paper, slide"),
    ],
)
def test_what_a_sweep_does_not_have_is_refused(arguments: dict[str, Any], message: str) -> None:
    table = results(predictor=RECALLS, hardware__host_link__gb_s=[12, 25])
    with pytest.raises(ConfigError) as refused:
        draw(table, **arguments)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_many_values_are_refused_as_lines_and_shown_as_heat() -> None:
    table = results(seed=list(range(12)), cache__capacity=[10, 20, 40])
    with pytest.raises(ConfigError, match="seed has 12 values, and 7 can be told apart as lines"):
        draw(table, x="cache.capacity", by="seed", kind="lines")
    assert draw(table, x="cache.capacity", by="seed").axes[0].get_images()
    chosen = draw(table, x="cache.capacity", by="seed", where={"seed": [1, 2, 3]})
    assert len(chosen.axes[0].get_lines()) == 3


@pytest.mark.parametrize("given", ["cache.capacity=40%", "capacity=40", "cache.capacity=40.0"])
def test_a_capacity_is_found_however_it_is_written(given: str) -> None:
    table = results(cache__capacity=[10, 40], seed=[1, 2, 3])
    assert "40 % of experts cached (1 of 2 swept)" in draw(table, x="seed", where=[given]).caption


def test_sizes_fonts_and_formats(tmp_path: Path) -> None:
    table = results(cache__capacity=[10, 40])
    figure = draw(table, x="cache.capacity")
    assert figure.get_size_inches()[0] == pytest.approx(3.3)
    assert figure.axes[0].xaxis.label.get_size() == 8
    assert draw(table, x="cache.capacity", size="slide").axes[0].xaxis.label.get_size() > 14
    for name in ("a.pdf", "b.pdf"):
        figure.savefig(tmp_path / name)
    written = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in written
    assert b"/Type3" not in written
    assert written == (tmp_path / "b.pdf").read_bytes()
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (LINK, "host link, GB/s"),
        ("cache.capacity", "experts cached, %"),
        ("hardware.cpu.expert_gb_s.bf16", "CPU expert bf16, GB/s"),
        ("runtime.load.issue_us", "load issue, µs"),
        ("hardware.host.memory_gib", "host memory, GiB"),
        ("trace.hit_rate", "trace hit rate"),
    ],
)
def test_axes_in_words(path: str, words: str) -> None:
    assert axis_words(path) == words


def test_values_and_measures_in_words() -> None:
    assert title_of(LINK, "25") == "host link 25 GB/s"
    assert title_of(LINK, "none") == "host link as the machine has it"
    assert measure_words("predictors.guess.slot_recall") == "predictors guess slot recall, %"
    assert measure_words("hit_rate.all") == "hit rate, %"


def test_kernels_are_those_of_the_runtime_where_the_config_is_silent() -> None:
    table = results(seed=[1, 2, 3])
    table["axis.runtime.kernels"] = ["none", "fused", "eager"]
    table["config.runtime.kernels"] = [None, "fused", "eager"]
    table["runtime.kernels"] = ["fused", "fused", "eager"]
    assert read(table).values("runtime.kernels") == ["fused", "eager"]


def test_a_mapping_is_one_axis_named_as_it_was_written() -> None:
    table = results(seed=[1, 2])
    table["axis.misses"] = ["load", "policy=cheapest up_to=5"]
    table["config.misses.policy"] = ["load", "cheapest"]
    table["config.misses.up_to"] = [31, 5]
    assert read(table).others == ["seed", "misses"]
    assert read(table).values("misses") == ["load", "policy=cheapest up_to=5"]
    table["axis.misses"] = ["policy=load up_to=31", "load"]  # the same, given and not
    table["config.misses.policy"], table["config.misses.up_to"] = "load", 31
    assert read(table).others == ["seed"]


def test_a_committed_point_comes_out_again() -> None:
    path = ROOT / "experiments/recall_bandwidth.yaml"
    planned = plan(read_sweep(path, []), str(path))
    committed = pd.read_csv(
        ROOT / "experiments/results/recall_bandwidth/results.csv", dtype={f"axis.{LINK}": str}
    )
    assert list(committed["name"]) == [point.config.name for point in planned]
    assert run(planned[-1].config)["total_ms"] == pytest.approx(committed["total_ms"].iloc[-1])


def commands() -> list[str]:
    """The commands of the page on figures."""
    lines = (ROOT / "docs/figures.md").read_text(encoding="utf-8").splitlines()
    text = "\n".join(lines).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("prefetch-sim plot")]


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_page_draws(command: str, tmp_path: Path) -> None:
    (tmp_path / "experiments").symlink_to(ROOT / "experiments", target_is_directory=True)
    words = shlex.split(command, comments=True)
    done = here(*words[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / words[words.index("--out") + 1]
    assert any(out.iterdir()) if out.is_dir() else out.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--x", "capacity", "--format", "jpeg"), "--format 'jpeg' is no format of figures; "),
        (("--x", "capacity", "--format", "svg", "--out", "a.pdf"), "ends with pdf"),
        (("--x", "capacity", "--out", "a.gif"), "--out a.gif: 'gif' is no format of"),
        (("--x", "capacity", "--out", "nowhere/a.pdf"), "nowhere"),
        (("--y", "tpot_ms"), "--x: which axis"),
    ],
)
def test_a_wrong_command_is_one_line(arguments: Any, message: str, tmp_path: Path) -> None:
    results(cache__capacity=[10, 40]).to_csv(tmp_path / "results.csv", index=False)
    refused = here("plot", tmp_path, *arguments, cwd=tmp_path)
    assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not list(tmp_path.glob("a.*"))


def test_a_trace_takes_no_option_of_a_sweep() -> None:
    done = run_cli("plot", "--trace", "mini-gpt-oss", "--x", "recall")
    assert done.code == 2
    assert "the others are of a sweep" in done.err


def test_points_that_have_not_run_are_told() -> None:
    table = results(cache__capacity=[10, 20, 40])
    table["error"] = [None, None, "not run yet"]
    assert "1 of 3 points not run yet" in draw(table, x="cache.capacity").caption


def test_columns_of_something_else_are_one_line() -> None:
    table = results(requests=9, cache__capacity=[10, 40])
    table["by_request.tpot_ms"] = [["a"] * 9, ["b"] * 9]
    with pytest.raises(ConfigError, match="these results: damaged, or not the results of a sweep"):
        draw(table, x="cache.capacity")


def test_savings_of_machines_are_paired_by_request() -> None:
    table = results(requests=9, hardware=["l4", "rtx-4090"], predictor=["none", 0.9])
    table["config.hardware.name"] = table["axis.hardware"]
    with look(1.0):
        figure = bars.hardware_comparison(read(table))
    assert isinstance(figure, Sheet)
    speed, gain = figure.panels
    order = [label.get_text() for label in speed.get_yticklabels()]
    times = table.set_index(["axis.hardware", "axis.predictor"])["tpot_ms.mean"]
    saved = [100 * (1 - times[name, "0.9"] / times[name, "none"]) for name in order]
    (dots,) = (line for line in gain.get_lines() if line.get_linestyle() == "None")
    assert list(dots.get_xdata()) == pytest.approx(saved)
    assert "over 9 pairs of requests" in figure.caption
    assert "too narrow" not in figure.caption


def test_a_batch_decodes_more_than_a_request_and_its_intervals_are_too_narrow() -> None:
    table = results(requests=9, hardware=["l4", "rtx-4090"], predictor=["none", 0.9])
    table["config.hardware.name"] = table["axis.hardware"]

    def rates(of: pd.DataFrame) -> list[str]:
        with look(1.0):
            figure = bars.hardware_comparison(read(of))
        assert isinstance(figure, Sheet)
        narrow = bool((of["config.batch_size"] > 1).any())
        assert ("too narrow, as requests of a batch share steps" in figure.caption) == narrow
        return [text.get_text() for text in figure.panels[0].texts]

    alone = [f"{1000 / ms:,.0f} tokens/s" for ms in table["tpot_ms.mean"][[0, 2]]]
    assert sorted(rates(table)) == sorted(alone)
    together = table.assign(**{"config.batch_size": 4})
    assert rates(together) == []  # a table of an earlier version has no rate of the whole
    whole = together.assign(decode_tokens_per_s=[5055.2, 1.0, 4001.4, 2.0])
    assert sorted(rates(whole)) == ["4,001 tokens/s", "5,055 tokens/s"]
    figure = draw(together, x="hardware", where={"predictor": "none"})
    assert "too narrow" in figure.caption
    assert "too narrow" not in draw(table, x="hardware", where={"predictor": "none"}).caption
