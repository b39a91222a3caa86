"""``python -m prefetch_sim.experiments.validation``: the page's tables, from committed runs.

With ``--run``, ``prefetch-sim validate`` of the matrix first: about an hour, and resumed where it
was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prefetch_sim.experiments.cli import main as command
from prefetch_sim.experiments.paper_check.report import fill
from prefetch_sim.experiments.validation import report

MATRIX = report.FOLDER / "matrix.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prefetch_sim.experiments.validation", description=__doc__
    )
    parser.add_argument(
        "--run", nargs=argparse.REMAINDER, help="validate the matrix, with these of its options"
    )
    parser.add_argument("--docs", type=Path, help="Markdown file whose marked tables to replace")
    given = parser.parse_args()
    if given.run is not None:
        try:
            command(["validate", str(MATRIX), *given.run])
        except SystemExit as ended:
            if ended.code:
                raise
    tables = report.tables(report.committed())
    if given.docs:
        given.docs.write_text(fill(given.docs.read_text(encoding="utf-8"), tables))
    print("\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
