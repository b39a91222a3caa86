"""A committed study: its sweeps, run as ``prefetch-sim sweep`` runs them, and what is kept of each.

What is kept is a CSV for each sweep: the labels of its axes, and the few results that the study's
tables and figures need.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pandas as pd

from prefetch_sim.experiments.documents import fill
from prefetch_sim.experiments.sweeps import export, points, pools
from prefetch_sim.experiments.sweeps.points import Point
from prefetch_sim.experiments.sweeps.runner import Sweep
from prefetch_sim.sim.config.errors import ConfigError

RESULTS = Path(__file__).with_name("results")
KEPT = {  # by the sweep's name for it: the study's, and the digits after the point
    "tpot_ms.mean": ("ms", 4),
    "hit_rate.decode": ("hit_rate", 4),
    "cache.share": ("cached", 4),
    "cache.static.experts": ("static_experts", 0),
}
_AXIS = "axis."


R = TypeVar("R")


def main(
    name: str,
    what: str | None,
    sweeps: Mapping[str, Path],
    read: Callable[[Path], R],
    draw: Callable[[R, Path], None],
    tables: Callable[[R], dict[str, str]],
) -> None:
    """The command of the study ``name`` runs its sweeps, draws its figures and fills its page."""
    parser = argparse.ArgumentParser(
        prog=f"python -m prefetch_sim.experiments.{name}", description=what
    )
    parser.add_argument("--out", type=Path, default=RESULTS / name, help="folder for the results")
    parser.add_argument("--work", type=Path, help="folder for the sweeps, to go on where they were")
    parser.add_argument("--docs", type=Path, help="Markdown file whose marked tables to replace")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        for sweep, config in sweeps.items():
            frame = run(config, (given.work or Path(temporary)) / sweep, given.jobs)
            frame.to_csv(given.out / f"{sweep}.csv", index=False)
    results = read(given.out)
    draw(results, given.out)
    shown = tables(results)
    if given.docs:
        given.docs.write_text(fill(given.docs.read_text(encoding="utf-8"), shown))
    print("\n\n".join(shown.values()))


def plan(config: Path) -> list[Point]:
    """Every point of a study's sweep."""
    return points.plan(points.read(config, []), str(config))


def run(config: Path, folder: Path, jobs: int) -> pd.DataFrame:
    """Run what ``folder`` has no result of; a row for each point. Raises ConfigError."""
    tree = points.read(config, [])
    planned = points.plan(tree, str(config))
    with pools.local(jobs) as pool, Sweep(folder, tree) as work:
        work.run(planned, pool)
        rows = export.write(folder, planned, work.store)
    for row in rows:
        if row["error"] is not None:
            raise ConfigError(f"{config} [{row['name']}]: {row['error'].splitlines()[-1]}")
    return condensed(pd.DataFrame(rows))


def condensed(frame: pd.DataFrame) -> pd.DataFrame:
    """The axes, by their paths, and ``KEPT``."""
    axes = [name for name in map(str, frame.columns) if name.startswith(_AXIS)]
    kept = {column: name for column, (name, _) in KEPT.items()}
    digits = dict(KEPT.values())
    found = frame[[*axes, *kept]].round({c: digits[name] for c, name in kept.items()})
    return found.rename(columns={**{name: name.removeprefix(_AXIS) for name in axes}, **kept})


def read(folder: Path, name: str) -> pd.DataFrame:
    """A committed sweep. Labels are text, results numbers."""
    path = folder / f"{name}.csv"
    numbers = {name for name, _ in KEPT.values()}
    columns = pd.read_csv(path, nrows=0).columns
    kinds = {column: float if column in numbers else str for column in columns}
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
