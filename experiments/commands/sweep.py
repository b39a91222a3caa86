"""``prefetch-sim sweep``: many runs over a product of axes, stored as they finish."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefetch_sim.experiments.commands.run import Assignments, Config, place, source
from prefetch_sim.experiments.interrupts import nothing_to_keep
from prefetch_sim.experiments.text import one_line

if TYPE_CHECKING:
    from prefetch_sim.experiments.sweeps.points import Point
    from prefetch_sim.experiments.sweeps.runner import Sweep

SHOWN = 20  # points of a table, unless all are asked for


def sweep(
    config: Config,
    out: Annotated[Path, typer.Option(parser=place, metavar="DIR", help="Where the results go.")],
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one a CPU")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a Dask cluster, whose workers run the points."),
    ] = None,
    assignments: Assignments = None,
    show_all: Annotated[
        bool, typer.Option("--all", help=f"Print every point, also of more than {SHOWN}.")
    ] = False,
) -> None:
    """Run every point of a config's `sweep`; a stopped sweep goes on where it was."""
    import os

    from prefetch_sim.experiments.output import conclude, console, say, stopping
    from prefetch_sim.experiments.text import count

    with nothing_to_keep():
        from prefetch_sim.experiments.sweeps import conclusion, export, points, pools
        from prefetch_sim.experiments.sweeps.runner import Sweep
        from prefetch_sim.sim.config.errors import ConfigError
        from prefetch_sim.sim.config.files import parse_assignment

        if scheduler is not None and jobs is not None:
            raise ConfigError("--jobs: with --scheduler, each of its workers runs a point")
        tree = points.read(config, [parse_assignment(a) for a in assignments or []])
        plan = points.plan(tree, source(config, assignments or []))
    total = count(len(plan), "point")
    if scheduler is None:
        workers = pools.local(jobs or os.cpu_count() or 1)
    else:
        workers = pools.cluster(scheduler)
    # In this order: where there is no cluster, no folder is made.
    with workers as pool, Sweep(out, tree) as work:
        for line in points.doubts(plan):
            say(line)

        def kept() -> str:
            some = _keep(out, plan, work)
            where = f", until then in {out / export.EXPORTS[1]}" if some else ""
            return f"stopped: {some} of {total} kept{where}; run again to go on"

        try:
            with stopping(kept):
                work.run(plan, pool)
        except ConfigError:
            with suppress(ConfigError, OSError):  # the first error is the one to tell
                _keep(out, plan, work)
            raise
        rows = export.write(out, plan, work.store)
        found = conclusion.measured(plan, work.store)
        said = conclusion.conclude(out, found, len(plan))
    few = None
    if len(rows) > SHOWN and not show_all:
        few = conclusion.telling(plan, rows, found, SHOWN)
    shown = console()
    shown.print(export.table(plan, rows, shown.width, few))
    if few is not None:
        shown.print(f"{len(few)} of {total} shown, the fastest of each condition; --all shows all")
    conclude(said)
    for line in conclusion.said_nothing(found):
        say(line)
    failed = [row for row in rows if row["error"] is not None]
    for row in failed:
        say(f"failed: {row['name']}: {_told(row['error'])}")
    if failed:
        say(f"{len(failed)} of {total} failed; {out}/results.sqlite has the tracebacks")
        raise typer.Exit(1)
    tables = ", ".join((*export.EXPORTS, *([export.CONCLUSION] if said else [])))
    say(f"{total} in {out}: {tables}, results.sqlite, sweep.yaml")


def _keep(out: Path, plan: Sequence[Point], work: Sweep) -> int:
    """Write tables of what is finished, as far as anything is; how many points that are."""
    from prefetch_sim.experiments.sweeps import conclusion, export

    with nothing_to_keep():
        kept = work.stored(plan)
        if kept:
            export.write(out, plan, work.store, unfinished=True)
            conclusion.conclude(out, conclusion.measured(plan, work.store), len(plan))
    return kept


def _told(error: str) -> str:
    """A traceback's last line; what a policy of one's own did wrong, whole."""
    last = one_line((error.splitlines() or [""])[-1])
    return last if error.startswith("Traceback") else error.partition("\n\n")[0]
