"""``python -m prefetch_sim.experiments.field_check``: all rows that can be run, the document."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd

from prefetch_sim.experiments.documents import fill
from prefetch_sim.experiments.field_check import report, table
from prefetch_sim.experiments.field_check.recordings import (
    RECORDINGS,
    Compared,
    Traced,
    compare,
    traced,
)
from prefetch_sim.experiments.field_check.rows import read_study


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prefetch_sim.experiments.field_check", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder for the results")
    parser.add_argument("--docs", type=Path, help="Markdown file whose marked tables to replace")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--recordings",
        type=Path,
        default=RECORDINGS,
        help="BigMoeOnEdge's runs by step; without them the last comparison stays",
    )
    given = parser.parse_args()
    study = read_study()
    given.out.mkdir(parents=True, exist_ok=True)
    found = table.outcomes(study, given.jobs)
    frames = {
        "rows": pd.DataFrame(table.row_table(study, found)),
        "checks": pd.DataFrame(table.check_table(study, found)),
    }
    if given.recordings.is_dir():
        runs = [row for row in study.rows if row.recording and not isinstance(found[row.id], str)]
        steps = compare(study, runs, given.recordings)
        frames["steps"] = pd.DataFrame(steps, columns=list(Compared._fields))
        runs_traced = traced(given.recordings.parent)
        frames["traced"] = pd.DataFrame(runs_traced, columns=list(Traced._fields))
    for name, frame in frames.items():
        frame.to_csv(given.out / f"{name}.csv", index=False)
    tables = report.tables(study, report.read(given.out))
    if given.docs:
        given.docs.write_text(fill(given.docs.read_text(encoding="utf-8"), tables))
    print("\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
