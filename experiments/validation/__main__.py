"""``python -m prefetch_sim.experiments.validation``: the page's tables, from committed runs.

With ``--run``, ``prefetch-sim validate`` of the matrix first: about an hour, and resumed where it
was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prefetch_sim.experiments.cli import main as command
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
    parser.add_argument("--readme", type=Path, help="likewise, of the folder above docs/")
    given = parser.parse_args()
    if given.run is not None:
        try:
            command(["validate", str(MATRIX), *given.run])
        except SystemExit as ended:
            if ended.code:
                raise
    tables = report.tables(report.committed())
    for page, docs in ((given.docs, ""), (given.readme, "docs/")):
        if page is not None:
            text = page.read_text(encoding="utf-8")
            page.write_text(report.filled(text, tables, docs), encoding="utf-8")
    print("\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
