"""Running the points of a sweep in worker processes; only the parent writes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType

import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.commands.output import console, say
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
    # Spawned, not forked: this process has threads (progress bar, Arrow) that a fork would tear.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        futures = {pool.submit(execute, point.config): point for point in points}
        try:
            _collect(futures, finished)
        except KeyboardInterrupt:
            running = {f: point for f, point in futures.items() if not f.done() and not f.cancel()}
            say(f"stopping once {len(running)} running points end; Ctrl-C again drops them")
            try:
                _collect(running, finished)
            except KeyboardInterrupt:
                os._exit(130)  # the workers see it and end
            raise


def _collect(futures: dict[Future[Outcome], Point], finished: Finished) -> None:
    try:
        for future in as_completed(futures):
            finished(futures[future], future.result())
    except BrokenProcessPool:
        raise ConfigError(
            "a worker process was killed (out of memory?): finished points are kept, "
            "run again to go on, with fewer --jobs"
        ) from None


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
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
