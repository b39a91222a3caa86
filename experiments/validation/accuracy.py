"""The errors of the last full runs, kept in one table: a new run is held against it.

Errors are told and never asserted, as machines and their days differ. A new table is put in place
of the old one by hand.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prefetch_sim.experiments.validation.tables import Tables

ACCURACY = Path(__file__).with_name("accuracy.csv")
KEY = ["device", "model", "what"]
# An error has grown where it did so by more points than this, and by more than this part of itself.
POINTS, PART = 2.0, 0.1


def errors(device: str, model: str, tables: Tables) -> pd.DataFrame:
    """A row for each figure of the summary that is an error, in %."""
    frame = tables.summary
    some = frame[frame["what"].str.startswith("error of ")]
    head = {"device": device, "model": model}
    return some[["what", "value"]].assign(**head)[[*KEY, "value"]].reset_index(drop=True)


def difference(now: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    """A line for each error of ``now`` that ``kept`` has too; ``alarm`` where it has grown."""
    before = {
        tuple(row[:3]): float(row[3]) for row in kept[[*KEY, "value"]].itertuples(index=False)
    }
    lines = []
    for row in now[[*KEY, "value"]].itertuples(index=False):
        was = before.get(tuple(row[:3]))
        if was is None:
            continue
        value = float(row[3])
        grown = value - was > POINTS and value - was > PART * was
        alarm = "alarm: " if grown else ""
        lines.append(f"{alarm}{row[2]}: {value:.1f}, was {was:.1f} ({value - was:+.1f})")
    return lines


def told(now: pd.DataFrame, path: Path = ACCURACY) -> list[str]:
    """What to print of a run: its difference to the table that is kept."""
    if not path.is_file():
        return ["no errors of an earlier run to hold these against"]
    lines = difference(now, pd.read_csv(path))
    return lines or ["no earlier run of this machine and model to hold these errors against"]
