"""``python -m prefetch_sim.experiments.experts_on_gpu``: every sweep, the figures, the page."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from prefetch_sim.experiments import studies
from prefetch_sim.experiments.experts_on_gpu import report
from prefetch_sim.experiments.experts_on_gpu.figure import draw
from prefetch_sim.experiments.paper_check.report import fill


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prefetch_sim.experiments.experts_on_gpu", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder for the results")
    parser.add_argument("--work", type=Path, help="folder for the sweeps, to go on where they were")
    parser.add_argument("--docs", type=Path, help="Markdown file whose marked tables to replace")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        for name, config in report.SWEEPS.items():
            frame = studies.run(config, (given.work or Path(temporary)) / name, given.jobs)
            frame.to_csv(given.out / f"{name}.csv", index=False)
    results = report.read(given.out)
    draw(results, given.out)
    tables = report.tables(results)
    if given.docs:
        given.docs.write_text(fill(given.docs.read_text(encoding="utf-8"), tables))
    print("\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
