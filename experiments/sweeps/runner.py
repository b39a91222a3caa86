"""Running the points of a sweep; only this process writes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Future,
    ProcessPoolExecutor,
    wait,
)
from itertools import islice
from pathlib import Path
from types import TracebackType

import yaml

from prefetch_sim.experiments.interrupts import on_interrupt
from prefetch_sim.experiments.output import check_folder, engine_note, say
from prefetch_sim.experiments.sweeps.export import CONCLUSION, EXPORTS
from prefetch_sim.experiments.sweeps.points import Point
from prefetch_sim.experiments.sweeps.pools import Pool
from prefetch_sim.experiments.sweeps.progress import progress
from prefetch_sim.experiments.sweeps.same import check_same
from prefetch_sim.experiments.sweeps.store import Outcome, Store
from prefetch_sim.experiments.sweeps.worker import execute
from prefetch_sim.experiments.text import count
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree
from prefetch_sim.sim.config.paths import seen_from
from prefetch_sim.traces.files import replacing

Finished = Callable[[Point, Outcome], None]

_LOOK = 1.0  # seconds between two looks at how many workers there are


class Sweep:
    """A sweep's folder while it is worked on. Made only now: a wrong config leaves no folder."""

    def __init__(self, folder: Path, tree: Tree) -> None:
        check_folder("--out", folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--out {folder}: {error.strerror}") from error
        tree = seen_from(folder, tree)  # as its file there has to say it
        self.store = Store(folder)
        try:
            if self.store.has_results():
                check_same(folder, tree)
        except BaseException:
            self.store.close()
            raise
        for name in (*EXPORTS, CONCLUSION):  # of an earlier sweep: they would pass for this one's
            (folder / name).unlink(missing_ok=True)
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        with replacing(folder / "sweep.yaml") as whole:
            whole.write_text(text, encoding="utf-8")

    def __enter__(self) -> Sweep:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.close()

    def stored(self, plan: Sequence[Point]) -> int:
        """How many of the points have a result."""
        return len(self.store.finished() & {point.key for point in plan})

    def run(self, plan: Sequence[Point], pool: Pool) -> None:
        """Run what has no result yet. Raises KeyboardInterrupt after keeping what was running."""
        finished = self.store.finished()
        left = [point for point in plan if point.key not in finished]
        # One after another, so that a worker reads and works out once what they share.
        left.sort(key=lambda point: point.shares)
        compiles = isinstance(pool.executor, ProcessPoolExecutor) and any(
            point.engine == "compiled" for point in left
        )

        def note() -> str:
            return engine_note() if compiles else ""

        with progress("points", len(plan), len(plan) - len(left), note) as advance:

            def keep(point: Point, outcome: Outcome) -> None:
                self.store.put(point.key, point.config.model_dump_json(), outcome)
                advance()

            _run(left, pool, keep)


def _run(points: Sequence[Point], pool: Pool, finished: Finished) -> None:
    left = iter(points)
    running: dict[Future[Outcome], Point] = {}
    stopping = False
    failure: Exception | None = None

    def stop(*_: object) -> None:  # no exception, which could come in the middle of storing
        nonlocal stopping
        if stopping:
            os._exit(130)  # the workers see it and end
        stopping = True
        say(f"stopping after {count(len(running), 'running point')}; Ctrl-C again drops what runs")

    def start() -> None:
        """No more than the workers: what was begun is then what runs, and nothing waits."""
        nonlocal failure
        try:
            for point in islice(left, max(0, pool.width() - len(running))):
                running[pool.executor.submit(execute, *point.work)] = point
        except Exception as error:  # whatever it is that a pool says which takes no more work
            failure = BrokenExecutor(error)

    def take(future: Future[Outcome]) -> None:
        nonlocal failure
        point = running.pop(future)
        try:
            outcome = future.result()
        except pool.fatal as error:
            outcome = Outcome(None, str(error), 0.0)
        except Exception as error:  # of a worker or of the pool; the others may end well
            failure = failure or error
            return
        finished(point, outcome)

    with on_interrupt(stop):
        # Workers inherit it: Ctrl-C is the parent's, also while they still import.
        with on_interrupt(signal.SIG_IGN):
            start()
        while running:
            # No future is held once it is taken: a cluster keeps its result as long, and would
            # work it out again if the worker that has it died.
            ended = list(wait(running, _LOOK, FIRST_COMPLETED).done)
            while ended:
                take(ended.pop())
            if not stopping and failure is None:
                start()
            elif stopping and pool.idle():  # what waits for a worker waits for ever
                for future in running:
                    future.cancel()
                running.clear()
    if stopping:
        raise KeyboardInterrupt
    if failure is not None:
        raise _told(failure, pool) from failure


def _told(failure: Exception, pool: Pool) -> ConfigError:
    """Why a sweep ended early, as one line."""
    if isinstance(failure, ConfigError):
        return failure
    if isinstance(failure, BrokenExecutor | CancelledError):
        return ConfigError(pool.broken)
    return ConfigError(
        "a worker cannot run the points of this sweep; has it this package, in this version? "
        f"({type(failure).__name__}: {failure})"
    )
