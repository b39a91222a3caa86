"""The field check: its rules hold, and what is committed is what the code still gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from prefetch_sim.experiments.field_check import report, table
from prefetch_sim.experiments.field_check.fit import HOW, Fitter
from prefetch_sim.experiments.field_check.recordings import RECORDINGS
from prefetch_sim.experiments.field_check.rows import Study, groups, read_study
from prefetch_sim.experiments.paper_check.report import fill
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree, parse
from prefetch_sim.sim.config.schema import CacheConfig, RunConfig

DOCUMENT = Path(__file__).parents[1] / "docs" / "field-check.md"
STUDY = read_study()
COMMITTED = report.read(report.RESULTS)


def changed(**keys: Any) -> dict[str, Any]:
    """The study as read, with these of its keys instead."""
    return {**STUDY.model_dump(by_alias=True), **keys}


def known(tree: Tree) -> Tree:
    """Of a config, the keys that there are today; it is checked whole once all are."""
    cache = {k: v for k, v in tree["cache"].items() if k in CacheConfig.model_fields}
    tree = {k: v for k, v in {**tree, "cache": cache}.items() if k in RunConfig.model_fields}
    try:
        parse({"precision": tree.get("precision")}, "precision")
    except ConfigError:  # it knows a few names only
        del tree["precision"]
    return tree


@pytest.mark.parametrize(
    "row", [row for row in STUDY.rows if row.config is not None], ids=lambda row: row.id
)
def test_a_row_is_a_config(row: Any) -> None:
    tree = STUDY.tree(row)
    parse(tree if known(tree) == tree else known(tree), row.id)


def test_rows_of_class_a_and_b_run_or_say_why_not() -> None:
    for row in STUDY.rows:
        assert (row.role == "excluded") == bool(row.reason), row.id
        if row.cls == "C":
            assert row.role in ("shape", "excluded"), row.id


def test_at_most_half_as_many_figures_as_rows() -> None:
    for rows, figures in groups(STUDY.fits):
        assert 2 * len(figures) <= len(rows), figures


def test_fits_that_share_rows_are_counted_together() -> None:
    first = STUDY.fits[0]
    more = first.model_copy(update={"figure": "runtime.imp.step_us"})
    with pytest.raises(ValidationError, match=r"2 figures .* on 2 rows"):
        Study.model_validate(changed(fits=[*STUDY.fits, more]))


def test_nothing_is_fitted_to_a_predicted_row() -> None:
    rows = [row.model_dump(by_alias=True) for row in STUDY.rows]
    name = STUDY.fits[0].rows[0]
    next(row for row in rows if row["id"] == name)["role"] = "predicted"
    with pytest.raises(ValidationError, match=f"{name} is predicted"):
        Study.model_validate(changed(rows=rows))


def test_fitted_figures_are_the_catalogues() -> None:
    for fit in STUDY.fits:
        assert fit.catalogued(STUDY.bases) == fit.value, fit.figure
        assert fit.derived == (fit.figure in HOW), fit.figure


def test_fits_are_worked_out_again() -> None:
    if not RECORDINGS.is_dir():
        pytest.skip("the runs by step of Helldez/BigMoeOnEdge are not here")
    fitter = Fitter(STUDY, RECORDINGS)
    for fit in STUDY.fits:
        if fit.derived:
            assert fitter.value(fit) == pytest.approx(fit.value, rel=0.02), fit.figure


def test_fitted_rows_are_not_among_the_predicted() -> None:
    fitted = {row.id for row in STUDY.rows if row.role == "fitted"}
    assert fitted.isdisjoint(report.judged(COMMITTED.rows, "predicted")["row"])
    tables = report.tables(STUDY, COMMITTED)
    shown = {line.split(" | ")[0].removeprefix("| ") for line in tables["predicted"].splitlines()}
    assert fitted.isdisjoint(shown)


def test_every_published_number_is_in_the_results() -> None:
    published = [(row.id, quantity) for row in STUDY.rows for quantity in row.published]
    found = COMMITTED.rows[["row", "quantity"]].itertuples(index=False, name=None)
    assert list(found) == published
    roles = {row.id: row.role for row in STUDY.rows}
    assert all(roles[line["row"]] == line["role"] for _, line in COMMITTED.rows.iterrows())


def test_the_document_shows_the_committed_tables() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert fill(text, report.tables(STUDY, COMMITTED)) == text


@pytest.mark.parametrize(
    "name", ["phone-gpt-oss-l8", "imp-larger", "a5000-infinity-mixtral", "imp-copy-batch"]
)
def test_a_row_is_as_committed(name: str) -> None:
    found = table.outcomes(STUDY, 1, [name])
    fresh = pd.DataFrame(table.row_table(STUDY, found))
    fresh = fresh[fresh["row"] == name].reset_index(drop=True)
    wanted = COMMITTED.rows[COMMITTED.rows["row"] == name].reset_index(drop=True)
    columns = ["published", "simulated", "deviation"]
    pd.testing.assert_frame_equal(
        fresh[columns].astype(float), wanted[columns].astype(float), check_exact=True
    )
