"""Results of a sweep that were edited: one line from compare and plot, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_support import here, small_trace, write_config

from prefetch_sim.experiments.comparing import words
from prefetch_sim.experiments.comparing.stored import check_rows, read_rows
from prefetch_sim.experiments.comparing.swept import compare_points, compare_rows
from prefetch_sim.experiments.plots.own import draw
from prefetch_sim.sim.config.errors import ConfigError

AXES = {"predictor": ["none", "guess"], "cache.capacity": ["50%", "30%"]}
A, B = {"predictor": "none"}, {"predictor": "guess"}


def swept(folder: Path, **keys: Any) -> Path:
    small_trace(folder / "small.parquet", requests=3)
    write_config(folder / "sweep.yaml", trace="small.parquet", sweep=AXES, **keys)
    done = here("sweep", "sweep.yaml", "--out", "out", "--jobs", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("edited"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("empty"), tokens="0:1")


def put(column: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """All rows with one ``value``."""

    def change(table: pa.Table) -> pa.Table:
        values = pa.array([value] * len(table))
        return table.set_column(table.column_names.index(column), column, values)

    return change


EDITS: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "rows twice": (lambda t: pa.concat_tables([t, t]), "no axis tells 'none, 50%' from"),
    "labels null": (put("axis.predictor", None), "axis.predictor: not all are texts"),
    "labels ints": (put("axis.predictor", 1), "axis.predictor: not all are texts"),
    "lists null": (put("by_request.tpot_ms", None), "by_request.tpot_ms: not all are lists"),
    "lists text": (put("by_request.tpot_ms", "[1,2]"), "by_request.tpot_ms: not all are lists"),
    "texts in lists": (put("by_request.tpot_ms", ["a"] * 3), "by_request.tpot_ms: 'a' is no"),
    "lists short": (put("by_request.ttft_ms", [1.0]), "by request of 'none, 50%' are not of all"),
    "tokens null": (put("by_request.output_tokens", [None] * 3), "are not of all requests"),
    "no tokens": (lambda t: t.drop_columns(["by_request.output_tokens"]), "no column by_request."),
    "no hits": (lambda t: t.drop_columns(["hit_rate.all"]), "no column hit_rate.all"),
    "mean text": (put("tpot_ms.mean", "7"), "tpot_ms.mean: '7' is no number"),
    "mean inf": (put("tpot_ms.mean", float("inf")), "tpot_ms.mean: inf is none of a run"),
    "mean below 0": (put("tpot_ms.mean", -1.0), "tpot_ms.mean: -1 is none of a run"),
    "total null": (put("total_ms", None), "total_ms: one is missing"),
    "total huge": (put("total_ms", 1e300), "total_ms: 1e+300 is none of a run"),
    "recall text": (put("predictors.guess.slot_recall", "x"), "slot_recall: 'x' is no number"),
    "late text": (put("decode_prefetch.late", "7"), "decode_prefetch.late: '7' is no number"),
    "no batch": (put("config.batch_size", None), "config.batch_size: one is missing"),
}


@pytest.mark.parametrize(("edit", "says"), EDITS.values(), ids=list(EDITS))
def test_compare_refuses_what_no_sweep_wrote(
    edit: Callable[[pa.Table], pa.Table], says: str, out: Path, tmp_path: Path
) -> None:
    pq.write_table(edit(pq.read_table(out / "results.parquet")), tmp_path / "results.parquet")
    with pytest.raises(ConfigError) as refused:
        compare_points(tmp_path, A, B)
    message = str(refused.value)
    assert message.startswith(f"--sweep: {tmp_path / 'results.parquet'}: damaged, or not the")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("edit", ["text", "null", "gone"])
def test_no_edited_figure_of_a_run_is_a_traceback(edit: str, out: Path) -> None:
    rows, _ = read_rows(out)
    assert [name for name in rows[0] if name.startswith("decode_prefetch.")]
    for name in rows[0]:
        if name.startswith(("axis.", "config.", "cache.", "by_request.")):
            continue
        gone = edit == "gone"
        edited = [{k: v for k, v in row.items() if not gone or k != name} for row in rows]
        if not gone:
            edited = [row | {name: "x" if edit == "text" else None} for row in edited]
        with suppress(ConfigError):
            check_rows(edited, "here")
            for place in compare_rows(edited, "here", A, B):
                words.said(place.comparison)
                words.facts(place.comparison)


def test_a_sweep_of_before_has_no_prefetches_of_decode_apart(out: Path, tmp_path: Path) -> None:
    table = pq.read_table(out / "results.parquet")
    apart = [name for name in table.column_names if name.startswith("decode_prefetch.")]
    pq.write_table(table.drop_columns(apart), tmp_path / "results.parquet")
    assert compare_points(tmp_path, A, B)


@pytest.mark.parametrize("value", [-1.0, float("inf")])
def test_plot_refuses_numbers_of_no_run(value: float, out: Path) -> None:
    frame = pd.read_parquet(out / "results.parquet")
    frame.loc[0, "tpot_ms.mean"] = value
    with pytest.raises(ConfigError, match=f"damaged.*tpot_ms.mean: {value:g} is none of a run"):
        draw(frame, x="cache.capacity")


def test_own_columns_may_be_below_zero(out: Path) -> None:
    frame = pd.read_parquet(out / "results.parquet").assign(gain=[-1.0, -2.0, -3.0, 4.0])
    assert draw(frame, x="cache.capacity", y="gain").axes


def test_results_that_another_program_wrote_again_are_the_same(out: Path, tmp_path: Path) -> None:
    pd.read_parquet(out / "results.parquet").to_parquet(tmp_path / "results.parquet")
    again, once = (compare_points(folder, A, B) for folder in (tmp_path, out))
    assert [words.said(p.comparison) for p in again] == [words.said(p.comparison) for p in once]
    assert again[0].comparison.as_json()["tpot_ms"] == once[0].comparison.as_json()["tpot_ms"]


def test_a_broken_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "results.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"cannot be read \(ArrowInvalid: .*(small|bytes)"):
        compare_points(tmp_path, A, B)


def test_a_sweep_without_output_tokens_says_so(empty: Path) -> None:
    axes = ("--a", "predictor=none", "--b", "predictor=guess")
    done = here("compare", "--sweep", "out", *axes, cwd=empty.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "No request has output tokens" in done.stdout
    assert "–" not in done.stdout
    for command in (("--x", "cache.capacity", "--y", "tpot_ms"), ()):
        refused = here("plot", "out", *command, cwd=empty.parent)
        assert refused.returncode == 2
        assert "tpot_ms.mean: no point has one: no request has output tokens" in refused.stderr


def test_what_runs_without_output_tokens_have_is_drawn(empty: Path) -> None:
    assert draw(empty, x="cache.capacity", y="ttft_ms").axes
    (place,) = compare_points(
        empty, A | {"cache.capacity": "50%"}, B | {"cache.capacity": "50%"}
    )  # fmt: skip
    assert words.facts(place.comparison) is not None
