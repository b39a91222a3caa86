"""A sweep in Python: its points as a DataFrame, its figures, and how a notebook shows it."""

from __future__ import annotations

import os
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from prefetch_sim.experiments.api import html
from prefetch_sim.experiments.api.given import (
    Config,
    Overrides,
    changes,
    named,
    need,
    need_path,
    read,
)
from prefetch_sim.experiments.sweeps import conclusion, export, points, pools
from prefetch_sim.experiments.sweeps.runner import Sweep as Folder
from prefetch_sim.experiments.text import count, number, one_line, percent
from prefetch_sim.sim.config.errors import ConfigError

_SHOWN = 24  # rows in a notebook
_WORTH_A_PROCESS = 8  # points, as a process takes as long to start as some take to run


def sweep(
    config: Config,
    overrides: Overrides = None,
    /,
    *,
    out: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    **keys: Any,
) -> Sweep:
    """Run every point of a config's ``sweep``, a mapping of dotted paths to lists of values.

    ``config``, ``overrides`` and ``keys`` are as ``run`` takes them; ``sweep={...}`` gives or
    replaces the axes. ``out``: a folder that keeps the results, so that a sweep that was stopped
    goes on; without one they are in what is returned alone. ``jobs``: processes, 1 for this
    one alone (default: up to one a CPU, one for 8 points). Raises ConfigError, a ValueError,
    before anything runs if a point cannot.
    """
    whole = isinstance(jobs, int | np.integer) and not isinstance(jobs, bool)
    need(jobs is None or (whole and int(jobs) >= 1), "jobs", "1 process or more", jobs)
    need_path("out", out)
    tree, source = read(config)
    changed = changes(overrides, keys)
    tree, objects = named(points.assigned(tree, changed))
    points.check(tree, changed, source)
    if objects and out is not None:
        raise ConfigError(
            f"{source}: {objects[0]}: results of a policy that is a Python object cannot be told "
            "from those of another later: leave out= out, or give its import path"
        )
    if objects and jobs not in (None, 1):
        raise ConfigError(f"{source}: {objects[0]}: a Python object runs in this process: jobs=1")
    plan = points.plan(tree, source)
    for line in points.doubts(plan):
        warnings.warn(line.removeprefix("warning: "), stacklevel=2)
    if objects:
        jobs = 1
    elif jobs is None:
        jobs = max(1, min(os.cpu_count() or 1, len(plan) // _WORTH_A_PROCESS))
    kept = nullcontext(os.fspath(out)) if out is not None else TemporaryDirectory()
    workers = nullcontext(pools.here()) if jobs == 1 else pools.local(jobs)
    with kept as place:
        folder = Path(place)
        with workers as pool, Folder(folder, tree) as work:
            work.run(plan, pool)
            rows = export.write(folder, plan, work.store)
            found = conclusion.measured(plan, work.store)
            said = conclusion.conclude(folder, found, len(plan))
        frame = pd.read_parquet(folder / export.EXPORTS[0])
    for line in conclusion.said_nothing(found):
        warnings.warn(line.removeprefix("warning: "), stacklevel=2)
    failed = [row for row in rows if row["error"] is not None]
    if failed:
        reason = one_line((failed[0]["error"].splitlines() or [""])[-1])
        warnings.warn(
            f"{len(failed)} of {count(len(plan), 'point')} failed; {failed[0]['name']}: {reason}",
            stacklevel=2,
        )
    varied = [path for path in plan[0].axes if len({point.axes[path] for point in plan}) > 1]
    return Sweep(frame, tuple(varied), None if out is None else Path(out), tuple(said))


@dataclass(frozen=True, repr=False)
class Sweep:
    """A finished sweep. ``frame`` has a row a point and the columns of ``results.csv``.

    ``axis.PATH`` are the swept values as text, ``config.PATH`` the whole config, the rest results
    as ``run --json`` names them (``tpot_ms.mean``, ms).
    """

    frame: pd.DataFrame
    axes: tuple[str, ...]  # dotted paths of more than one value
    folder: Path | None  # where the results are kept
    said: tuple[str, ...]  # what the results mean, a line each

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        values = (f"{path} ({self.frame[f'axis.{path}'].nunique()})" for path in self.axes)
        what = f"{count(len(self), 'point')} over {', '.join(values) or 'nothing'}"
        best = self.frame["tpot_ms.mean"].min() if "tpot_ms.mean" in self.frame else float("nan")
        if pd.isna(best):
            failed = self.frame["error"].notna().all()
            return f"<Sweep {what}: {'all failed' if failed else 'no output tokens'}>"
        return f"<Sweep {what}: best {number(best)} ms per output token>"

    def _repr_html_(self) -> str:
        headings = [*self.axes, "decode, tokens/s", "ms per output token", "hit rate, prefill too"]
        rows = []
        for row in self.frame.head(_SHOWN).to_dict("records"):
            cells = [str(row[f"axis.{path}"]) for path in self.axes]
            rate, tpot, hits = (
                None if row.get(key) != row.get(key) else row.get(key)
                for key in ("decode_tokens_per_s", "tpot_ms.mean", "hit_rate.all")
            )
            rows.append([*cells, number(rate), number(tpot), percent(hits)])
        title = count(len(self), "point")
        if len(self) > _SHOWN:
            title += f", the first {_SHOWN}"
        return html.block(title, [html.table(headings, rows, right=3)], self.said)
