"""``python -m prefetch_sim.experiments.paper_check``: all runs of the plan, and the document."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd

from prefetch_sim.experiments.documents import fill
from prefetch_sim.experiments.paper_check import report, timings, tpot
from prefetch_sim.experiments.paper_check.figure import draw
from prefetch_sim.experiments.paper_check.plan import points, read_plan


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prefetch_sim.experiments.paper_check", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder for the results")
    parser.add_argument("--docs", type=Path, help="Markdown file whose marked tables to replace")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    plan = read_plan()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = {
        "operators": timings.operators(),
        "loads": timings.loads(plan),
        "windows": timings.windows(plan),
        "tpot": tpot.measure_all(points(plan), given.jobs),
    }
    for name, table in rows.items():
        pd.DataFrame(table).to_csv(given.out / f"{name}.csv", index=False)
    draw(report.read(given.out), given.out / "tpot.png")
    tables = report.tables(report.read(given.out))
    if given.docs:
        given.docs.write_text(fill(given.docs.read_text(encoding="utf-8"), tables))
    print("\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
