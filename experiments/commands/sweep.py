"""``prefetch-sim sweep``: many runs over a product of axes, stored as they finish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefetch_sim.experiments.commands.run import Assignments, Config, source
from prefetch_sim.experiments.interrupts import nothing_to_keep
from prefetch_sim.experiments.text import one_line


def sweep(
    config: Config,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go.")],
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one a CPU")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a Dask cluster, whose workers run the points."),
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Run every point of a config's `sweep`; a stopped sweep goes on where it was."""
    import os

    from prefetch_sim.experiments.commands.output import console, count, say

    with nothing_to_keep():
        from prefetch_sim.experiments.sweeps import export, points, pools
        from prefetch_sim.experiments.sweeps.runner import Sweep
        from prefetch_sim.sim.config.errors import ConfigError
        from prefetch_sim.sim.config.files import parse_assignment

        if scheduler is not None and jobs is not None:
            raise ConfigError("--jobs: with --scheduler, each of its workers runs a point")
        tree = points.read(config, [parse_assignment(a) for a in assignments or []])
        plan = points.plan(tree, source(config, assignments or []))
    total = count(len(plan), "point")
    small = sum(point.cache_bytes < point.lap_bytes for point in plan)
    if scheduler is None:
        workers = pools.local(jobs or os.cpu_count() or 1)
    else:
        workers = pools.cluster(scheduler)
    # In this order: where there is no cluster, no folder is made.
    with workers as pool, Sweep(out, tree) as work:
        if small:
            say(
                f"warning: the cache of {small} of {total} is below one lap "
                "(layers x top-k): it cannot hold what one token uses"
            )
        for note in dict.fromkeys(note for point in plan for note in point.notes):
            say(note)
        try:
            work.run(plan, pool)
        except KeyboardInterrupt:
            say(f"stopped: {work.stored(plan)} of {total} kept; run again to go on")
            raise typer.Exit(130) from None
        rows = export.write(out, plan, work.store)
    shown = console()
    shown.print(export.table(plan, rows, shown.width))
    failed = [row for row in rows if row["error"] is not None]
    for row in failed:
        say(f"failed: {row['name']}: {_told(row['error'])}")
    if failed:
        say(f"{len(failed)} of {total} failed; {out}/results.sqlite has the tracebacks")
        raise typer.Exit(1)
    say(f"{total} in {out}: results.parquet, results.csv, results.sqlite, sweep.yaml")


def _told(error: str) -> str:
    """A traceback's last line; what a policy of one's own did wrong, whole."""
    last = one_line((error.splitlines() or [""])[-1])
    return last if error.startswith("Traceback") else error.partition("\n\n")[0]
