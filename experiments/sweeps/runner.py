"""Running the points of a sweep in worker processes; only the parent writes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import connection
from pathlib import Path
from types import TracebackType

import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.commands.output import console, count, say
from experiments.interrupts import on_interrupt
from experiments.sweeps.export import EXPORTS
from experiments.sweeps.points import Point
from experiments.sweeps.store import Outcome, Store
from sim.config import RunConfig
from sim.config_file import Tree
from sim.errors import ConfigError

Finished = Callable[[Point, Outcome], None]


class Sweep:
    """A sweep's folder while it is worked on. Made only now: a wrong config leaves no folder."""

    def __init__(self, folder: Path, tree: Tree) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(folder)
        for name in EXPORTS:  # of an earlier sweep: they would pass for this one's
            (folder / name).unlink(missing_ok=True)
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        (folder / "sweep.yaml").write_text(text, encoding="utf-8")

    def __enter__(self) -> Sweep:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.__exit__(kind, error, trace)

    def stored(self, plan: Sequence[Point]) -> int:
        """How many of the points have a result."""
        return len(self.store.finished() & {point.key for point in plan})

    def run(self, plan: Sequence[Point], jobs: int) -> None:
        """Run what has no result yet. Raises KeyboardInterrupt after keeping what was running."""
        finished = self.store.finished()
        left = [point for point in plan if point.key not in finished]
        with _progress() as progress:
            bar = progress.add_task(
                "points", total=len(plan), completed=len(plan) - len(left), rate=0.0
            )
            began = time.monotonic()
            done = 0

            def keep(point: Point, outcome: Outcome) -> None:
                nonlocal done
                self.store.put(point.key, point.config.model_dump_json(), outcome)
                done += 1
                progress.update(bar, advance=1, rate=done / (time.monotonic() - began))

            if left:
                _run(left, min(jobs, len(left)), keep)


def _progress() -> Progress:
    out = console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.2f}/s"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=out,
        disable=not out.is_terminal,
    )


def _run(points: Sequence[Point], jobs: int, finished: Finished) -> None:
    left = iter(points)
    running: dict[Future[Outcome], Point] = {}
    stopping = False

    def stop(*_: object) -> None:  # no exception, which could come in the middle of storing
        nonlocal stopping
        if stopping:
            os._exit(130)  # the workers see it and end
        stopping = True
        say(f"stopping after {count(len(running), 'running point')}; Ctrl-C again drops what runs")

    # Spawned, not forked: this process has threads (progress bar, Arrow) that a fork would tear.
    context = multiprocessing.get_context("spawn")
    with (
        on_interrupt(stop),
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool,
    ):

        def start(most: int) -> None:
            """No more than the workers: what was begun is then what runs, and nothing waits."""
            for point in islice(left, most):
                running[pool.submit(execute, point.config)] = point

        try:
            # Workers inherit it: Ctrl-C is the parent's, also while they still import.
            with on_interrupt(signal.SIG_IGN):
                start(jobs)
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                # Results first: an exception is that of a pool that broke, and ends the loop.
                for future in sorted(done, key=lambda f: f.exception() is not None):
                    finished(running[future], future.result())
                    del running[future]
                if not stopping:
                    start(len(done))
        except BrokenProcessPool:
            if not stopping:
                raise ConfigError(
                    "a worker process was killed (out of memory?): finished points are kept, "
                    "run again to go on, with fewer --jobs"
                ) from None
    if stopping:
        raise KeyboardInterrupt


def execute(config: RunConfig) -> Outcome:
    """One point, in a worker. An exception of the run is an outcome, not the end of the sweep."""
    from sim.run import run

    began = time.perf_counter()
    try:
        result, error = run(config), None
    except Exception:
        result, error = None, traceback.format_exc()
    return Outcome(result, error, round(time.perf_counter() - began, 3))


def _start_worker() -> None:
    """End with the parent, however it ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
